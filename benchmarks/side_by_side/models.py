"""The models: a trained tiny one, and Llama shapes with random weights, made here and kept in a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from side_by_side.data import PROJECT, SHARED

if TYPE_CHECKING:
    from transformers import LlamaConfig

EMBEDDED = PROJECT / "llama_experiments" / "embedded" / "model"


@dataclasses.dataclass(frozen=True)
class Shape:
    """A Llama's sizes."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    many_pieces: bool = True  # Llama 2's 32,000
    positions: int = 1024
    tied: bool = True
    dtype: str = "float32"

    def config(self, pieces: int, **further: Any) -> LlamaConfig:
        """For a tokenizer of so many pieces, where it is not Llama 2's."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=32_000 if self.many_pieces else pieces,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            max_position_embeddings=self.positions,
            tie_word_embeddings=self.tied,
            **further,
        )

    def parameters(self) -> int:
        """Weights of the layers: what a token is multiplied with, but for the head."""
        attention = 2 * self.hidden**2 * (1 + self.key_heads / self.heads)
        return round(self.layers * (attention + 3 * self.hidden * self.inner))


# Those of Karpathy's tiny Llamas, and for GPUs TinyLlama's and Llama 2's.
SHAPES = {
    "6M": Shape(288, 768, 6, 6, 6, many_pieces=False),
    "15M": Shape(288, 768, 6, 6, 6),
    "110M": Shape(768, 2048, 12, 12, 12),
    "1B": Shape(2048, 5632, 22, 32, 4, positions=2048, tied=False, dtype="bfloat16"),
    "7B": Shape(4096, 11008, 32, 32, 32, positions=4096, tied=False, dtype="bfloat16"),
}


def tiny() -> Path:
    """The trained model: stories260K where it lies beside the project, else the embedded one."""
    trained = SHARED / "stories260K"
    return trained if trained.exists() else EMBEDDED


def hidden_size(name: str) -> int:
    """Of a model by its name."""
    return SHAPES[name].hidden if name in SHAPES else 64


def model_folder(name: str, scratch: Path) -> Path:
    """The folder of a model; a shape is made where it is not there yet."""
    if name not in SHAPES:
        return tiny()
    folder = scratch / "models" / name
    if not (folder / "config.json").exists():
        _make(name, folder)
    return folder


def _make(name: str, folder: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    from llama_experiments.models.tokenizer import load_tokenizer

    shape = SHAPES[name]
    pieces = SHARED / "llama2_tokenizer"
    # Written as tokenizer.json, so that every side reads the same tokens from it.
    tokenizer = load_tokenizer(pieces if shape.many_pieces and pieces.exists() else tiny())
    marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = shape.config(len(tokenizer), **marks)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"  # billions of random numbers take a CPU minutes
    with torch.device(device):
        model = LlamaForCausalLM(config).to(getattr(torch, shape.dtype))
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
