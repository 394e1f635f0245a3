"""A task's rows without what is to be learned of them, put to a trained model."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset as Table
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Asked:
    """A trained model, as a task asks it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    passes: Callable[[Examples], dict[str, np.ndarray]]  # what the passes say of each example
    arithmetic: Callable[[], contextlib.AbstractContextManager[Any]]  # in which the model writes
    may_be_silent: bool  # whether the run knew questions without answers
    on_text: Callable[[str], None] | None = None  # called with each piece of a text as it is written


class Columns(dict[str, list[Any]]):
    """Rows in memory, column by column: as much of a table as tasks use, without the library."""

    def __len__(self) -> int:
        return len(next(iter(self.values()), []))


def examples_of(task: Task, columns: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerFast) -> Examples | None:
    """The rows as examples, numbered from 0; None where none of them makes one."""
    import numpy as np
    import pyarrow as pa

    table = Columns(columns)
    encoded = pa.table(task.encode(dict(table), 0, tokenizer))
    if not len(encoded):
        return None
    return Examples(encoded, Rows("input", "the input", cast("Table", table), np.arange(len(table)), {}), task.beside)


def by_passes(
    task: Task, columns: Mapping[str, list[Any]], asked: Asked, names: Sequence[str]
) -> dict[str, list[Any]]:
    """The columns `names` of the task's predictions, for each row; None for a row that makes no example."""
    rows = len(next(iter(columns.values())))
    found: dict[str, list[Any]] = {name: [None] * rows for name in names}
    examples = examples_of(task, columns, asked.tokenizer)
    if examples is None:
        return found
    table = task.prediction_table(asked.passes(examples), examples)
    there = {int(row) for row in examples.fixed["row"]}
    for at, row in enumerate(map(int, table["row"])):
        if row in there:
            for name in names:
                value = table[name][at]
                found[name][row] = value.item() if hasattr(value, "item") else value
    return found


def no_answers(rows: int, may_be_silent: bool) -> list[dict[str, list[Any]]]:
    """In the place of references: none where a question may have none, else one that stands nowhere.

    By whether all have some a question answering task tells which SQuAD the rows are of.
    """
    return [{"text": [] if may_be_silent else ["?"], "answer_start": [] if may_be_silent else [-1]}] * rows
