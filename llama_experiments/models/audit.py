"""The load audit: every weight is the checkpoint's, but for a new head."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.tasks.base import Task

# Saved by older versions of transformers, computed by newer ones: not weights.
BUFFERS = re.compile(r"(^|\.)(rotary_emb\.inv_freq|attn\.masked_bias|attn\.bias)$")


def audit(info: dict[str, Any], task: Task, folder: Path) -> tuple[list[str], list[str]]:
    """Check transformers' account of the loading: which parameters are fresh and which tensors were left over.

    Raises:
        UserError: a tensor of the trunk is fresh or of another shape, or a tensor of the checkpoint had no place.
    """
    mismatched = {key[0]: key for key in info["mismatched_keys"]}
    fresh = sorted({*info["missing_keys"], *mismatched})
    left_over = sorted(key for key in info["unexpected_keys"] if not BUFFERS.search(key))

    def of_head(name: str) -> bool:
        return name.startswith(task.head)

    wrong = [name for name in fresh if not (of_head(name) and task.head_may_be_fresh)]
    if wrong:
        shapes = [
            f"{name} has shape {list(mismatched[name][1])} for {list(mismatched[name][2])}"
            for name in wrong
            if name in mismatched
        ]
        told = _some(shapes or wrong)
        raise UserError(
            f"model.checkpoint: {_tensors(wrong)} of the model did not come from {folder}: {told}; "
            "training would start from random weights there"
        )
    unused = [name for name in left_over if not (name.startswith("lm_head.") and "lm_head." not in task.head)]
    if unused:
        have = "has" if len(unused) == 1 else "have"
        raise UserError(
            f"model.checkpoint: {_tensors(unused)} of {folder} {have} no place in this model: {_some(unused)}"
        )
    return fresh, left_over


def start_head(model: PreTrainedModel, fresh: list[str], seed: int) -> None:
    """Draw the new head again on its own seed, so that it does not depend on how transformers loads."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name in fresh:
        parameter = model.get_parameter(name)
        if parameter.ndim >= 2:
            values = torch.randn(parameter.shape, generator=generator) * model.config.initializer_range
        else:
            values = torch.zeros(parameter.shape)
        parameter.data = values.to(parameter.dtype)


def match_classes(model: PreTrainedModel, task: Task, stored: dict[str, Any]) -> None:
    """Put the rows of a head that was kept into the order of the task's classes; `stored` is its own id2label."""
    names = list(task.model_settings().get("id2label", {}).values())
    written = [stored[index] for index in sorted(stored, key=int)] if all(map(str.isdecimal, stored)) else []
    if names == written or sorted(names) != sorted(written):
        return
    order = [written.index(name) for name in names]
    for name, parameter in model.named_parameters():
        if name.startswith(task.head):
            parameter.data = parameter.data[order]


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, where: str) -> None:
    """Every token that a text can give needs its embedding.

    Some folders name a pad token beyond the embeddings, and never meant to use it; no text of ours spells it.

    Raises:
        UserError: the tokenizer is another model's.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    never = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    never -= {tokenizer.eos_token_id, *tokenizer("")["input_ids"]}
    largest = max((index for index in tokenizer.get_vocab().values() if index not in never), default=0)
    if largest >= rows:
        raise UserError(f"{where}: its tokenizer has ids up to {largest}, but the model has {rows} embeddings")


def _tensors(names: list[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
