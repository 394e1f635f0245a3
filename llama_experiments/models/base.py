"""What a model group is: a tokenizer and starting weights for a task."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A task's model with its tokenizer, and what the audit found."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str  # for people
    fresh: list[str]  # parameters that did not come from a checkpoint
    left_over: list[str]  # tensors of the checkpoint that this task has no use for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """Where tokenizer and starting weights come from."""

    learning_rate: float = 2e-5  # what suits a model of this size; training.learning_rate refers to it
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"  # auto: transformers' choice
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # of frozen tensors; those that train are fp32

    @property
    def needs_hub(self) -> bool:
        """Whether the Hub is asked for anything."""
        return False

    @property
    def hub_name(self) -> str | None:
        """The name on the Hub of what is needed from there."""
        return None

    def problems(self) -> list[tuple[str, str]]:
        """What can be seen to be wrong without loading anything: `[(setting, sentence), ...]`."""
        return []

    def positions(self) -> int | None:
        """The longest sequence the model takes, in tokens, when that is known without loading it."""
        return None

    def load(self, task: Task, seed: int) -> Loaded:
        """Tokenizer and the task's model on the CPU, audited; fresh weights are a function of the seed.

        Raises:
            UserError: the checkpoint cannot be loaded whole.
        """
        raise NotImplementedError

    def _attention(self) -> dict[str, str]:
        return {} if self.attention == "auto" else {"attn_implementation": self.attention}


def cast_parameters(model: PreTrainedModel, frozen: torch.dtype | None) -> None:
    """Trainable tensors become fp32; frozen ones `frozen`, or stay as stored where that is None."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
        elif frozen is not None:
            parameter.data = parameter.data.to(frozen)


def check_length(loaded: Loaded, task: Task) -> None:
    """A checkpoint from the Hub shows its positions only once it is here.

    Raises:
        UserError: rows may be longer than the model's positions.
    """
    positions = loaded.model.config.max_position_embeddings
    if task.max_length > positions:
        raise UserError(f"task.max_length: {task.max_length} tokens are more than the model's {positions} positions")


def with_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Name a pad token that never stands for a real one, for those who will load the saved model in batches.

    Our own batches tell padding by lengths and have no use for it. Embeddings are never resized for it.
    """
    from llama_experiments.models.tokenizer import unused_token_id

    pad = unused_token_id(tokenizer, model.config.vocab_size)
    model.config.pad_token_id = pad
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = pad
    if pad is not None and (token := tokenizer.convert_ids_to_tokens(pad)) is not None:
        tokenizer.pad_token = token
    return model


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers prints a report of fresh weights and a progress bar; the audit says it better."""
    import transformers

    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers.utils.logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()
