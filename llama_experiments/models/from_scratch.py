"""A Llama with random weights, of any shape."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError, check_settings
from llama_experiments.models.base import Loaded, Model, with_pad_token
from llama_experiments.paths import resolve

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromScratch(Model):
    """A Llama with random weights, of a shape given here; the names are LlamaConfig's."""

    tokenizer: str  # a folder with tokenizer.json or tokenizer.model
    hidden_size: int = 96
    intermediate_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    num_key_value_heads: int = 3
    max_position_embeddings: int = 512
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        whole = (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
        )
        sizes_hold = all(getattr(self, name) >= 1 for name in whole)
        check_settings(
            *((name, getattr(self, name) >= 1, "must be at least 1") for name in (*whole, "max_position_embeddings")),
            ("rope_theta", 0 < self.rope_theta < math.inf, "must be a positive number"),
            ("initializer_range", 0 < self.initializer_range <= 1, "must be above 0 and at most 1"),
            (
                "num_attention_heads",
                not sizes_hold or self.hidden_size % (2 * self.num_attention_heads) == 0,
                f"must divide hidden_size ({self.hidden_size}) into heads of an even size",
            ),
            (
                "num_key_value_heads",
                not sizes_hold or self.num_attention_heads % self.num_key_value_heads == 0,
                f"must divide num_attention_heads ({self.num_attention_heads})",
            ),
        )

    def problems(self) -> list[tuple[str, str]]:
        found = super().problems()
        folder = resolve(self.tokenizer)
        if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
            found.append(("tokenizer", f"there is no tokenizer.json or tokenizer.model in {folder}"))
        return found

    def shape(self) -> dict[str, Any]:
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in {"tokenizer", "rope_theta", *(base.name for base in dataclasses.fields(Model))}
        }

    def load(self, task: Task, seed: int, quantization: BitsAndBytesConfig | None = None) -> Loaded:
        import torch
        from transformers import LlamaConfig

        from llama_experiments.models.tokenizer import load_tokenizer

        if quantization is not None:
            raise UserError("technique: random weights are not quantized; give a checkpoint (model=...)")
        tokenizer = load_tokenizer(resolve(self.tokenizer))
        config = LlamaConfig(
            vocab_size=max(tokenizer.get_vocab().values()) + 1,  # ids may have gaps
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            **self.shape(),
            **task.model_settings(),
        )
        torch.manual_seed(seed)
        model = task.model_class()._from_config(config, dtype=torch.float32, **self._attention())
        fresh = [name for name, _ in model.named_parameters()]
        return Loaded(with_pad_token(model, tokenizer), tokenizer, "from scratch", fresh, [])
