"""What a task is: its columns, its head, rows as tokens, logits and labels as a loss, predictions as a score.

Nothing here imports torch before it computes: a config is checked against these classes in a blink.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.errors import check_settings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples
    from llama_experiments.data.rows import Rows


@dataclasses.dataclass
class Output:
    """What one pass gives: a loss that is a *sum*, what it is a sum over, and a prediction for each example."""

    loss: torch.Tensor  # [] in nats, a sum over `count` items
    count: int  # examples, spans or tokens
    predictions: dict[str, torch.Tensor]  # each [batch, ...]; `loss` [batch] is always there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The base of all tasks. A subclass is one module and its YAML file."""

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]  # what it reads of a row
    item: ClassVar[str]  # what its loss is a mean over, in words
    head: ClassVar[tuple[str, ...]]  # prefixes of the parameters above the trunk
    head_may_be_fresh: ClassVar[bool] = True  # whether a checkpoint need not have the head
    beside: ClassVar[tuple[str, ...]] = ()  # columns of the examples that only scoring needs

    max_length: int = 256  # tokens; longer rows are cut or windowed

    def __post_init__(self) -> None:
        check_settings(("max_length", self.max_length >= 2, f"must be at least 2 tokens, not {self.max_length}"))

    def bind(self, rows: dict[str, Rows], labels: list[str] | None) -> Task:
        """This task, knowing what only the rows can tell, such as the names of the classes."""
        return self

    def prepared(self, rows: Rows) -> Rows:
        """The rows as `encode` takes them; raises UserError for values that the task cannot read."""
        return rows

    def reasons_to_leave_out(self, columns: dict[str, list[Any]]) -> list[str | None]:
        """For each row why it cannot be used, or None."""
        return [None if isinstance(text, str) and text.strip() else "an empty text" for text in columns["text"]]

    def model_class(self) -> type[PreTrainedModel]:
        """transformers' class with this task's head."""
        raise NotImplementedError

    def key_mapping(self) -> dict[str, str]:
        """Patterns of a causal checkpoint's keys and what this task's model calls them."""
        return {}

    def model_settings(self) -> dict[str, Any]:
        """What the model's config must know of this task."""
        return {}

    def encoding_settings(self) -> dict[str, Any]:
        """All that `encode` depends on beside rows and tokenizer: the key under which its result is kept."""
        return {"task": type(self).__name__, "max_length": self.max_length}

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        """Rows as columns of examples: `input_ids`, `row`, `count` and the task's own."""
        raise NotImplementedError

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        """Loss and predictions of a right-padded batch; no number may depend on the padding."""
        raise NotImplementedError

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        """Metrics over all predictions of an evaluation, each [examples, ...]."""
        raise NotImplementedError

    def prediction_table(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, Any]:
        """The columns of `predictions.parquet`, where people read them; here what every task has."""
        return {
            "row": examples.rows.numbers[predictions["row"]],
            "loss": predictions["loss"].astype("float64"),
            "count": predictions["count"],
        }


def tokenize(texts: list[str], tokenizer: PreTrainedTokenizerFast, max_length: int | None) -> list[list[int]]:
    """Texts as token ids, with the tokenizer's own special tokens, cut to `max_length` when given."""
    backend = tokenizer.backend_tokenizer
    if max_length is not None:
        backend.enable_truncation(max_length)
    try:
        return [encoding.ids for encoding in backend.encode_batch_fast(texts)]
    finally:
        backend.no_truncation()
