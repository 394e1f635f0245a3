"""The models: a trained tiny one, and Llama shapes with random weights, made here and kept in a folder."""

from __future__ import annotations

from pathlib import Path

from side_by_side.data import PROJECT, SHARED

EMBEDDED = PROJECT / "llama_experiments" / "embedded" / "model"

# name -> hidden size, layers, heads, whether it has Llama 2's 32,000 pieces; those of Karpathy's tiny Llamas
SHAPES = {"6M": (288, 6, 6, False), "15M": (288, 6, 6, True), "110M": (768, 12, 12, True)}


def tiny() -> Path:
    """The trained model: stories260K where it lies beside the project, else the embedded one."""
    trained = SHARED / "stories260K"
    return trained if trained.exists() else EMBEDDED


def hidden_size(name: str) -> int:
    """Of a model by its name."""
    return SHAPES[name][0] if name in SHAPES else 64


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
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    from llama_experiments.models.tokenizer import load_tokenizer

    hidden, layers, heads, many_pieces = SHAPES[name]
    pieces = SHARED / "llama2_tokenizer"
    # Written as tokenizer.json, so that every side reads the same tokens from it.
    tokenizer = load_tokenizer(pieces if many_pieces and pieces.exists() else tiny())
    config = LlamaConfig(
        vocab_size=32_000 if many_pieces else len(tokenizer),
        hidden_size=hidden,
        intermediate_size=768 if hidden == 288 else 2048,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
