"""From rows to predictions: a chunk at a time, or, where a person looks on, a word at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from llama_experiments.errors import UserError
from llama_experiments.prediction import outputs
from llama_experiments.prediction.inputs import Row, as_they_come, in_chunks

if TYPE_CHECKING:
    from llama_experiments.runs.trained import Replayed
    from llama_experiments.tasks.asking import Asked
    from llama_experiments.tasks.base import Task

BATCHES = 16  # of a chunk: its rows of similar lengths share one
WRITTEN_AT_ONCE = 32  # rows of a chunk where the model writes
LISTED = 5  # lines that are told


@dataclasses.dataclass
class LeftOut:
    """Rows without a prediction."""

    count: int = 0
    lines: list[int] = dataclasses.field(default_factory=list)  # of the first of them


class Stream:
    """The rows of an input on their way."""

    def __init__(self, rows: Iterator[Row], names: Mapping[str, str], where: str) -> None:
        """Looks at the first row, so that what is wrong with it is told before anything slow starts.

        Args:
            names: the task's columns, and what the data set calls them.
            where: the input, for messages.

        Raises:
            UserError: there is no row, or it lacks a column.
        """
        self._names, self._where = names, where
        self.rows = 0  # done
        self.left_out: dict[str, LeftOut] = {}  # reason -> rows
        first = next(rows, None)
        if first is None:
            raise UserError(f"--input: {where} has no rows, so there is nothing to predict")
        self._values(first)
        self._rows = itertools.chain([first], rows)

    def predict(self, replayed: Replayed, file: TextIO, kind: str, *, waits: bool, shows: bool) -> None:
        """Put all rows to the run's model, and write them.

        Args:
            kind: a format of `outputs`.
            waits: whether the rows come as somebody writes them.
            shows: whether somebody may be looking at `file`.

        Raises:
            UserError: what is wrong with a row; those before it are written.
        """
        task, asked, size = _asked(replayed)
        if shows and kind == "text" and task.writes_on:
            self._show(task, asked, file)
            return
        written = outputs.Rows(file, kind, task.predicts)
        chunk = WRITTEN_AT_ONCE if task.writes_on else BATCHES * size
        for rows in as_they_come(self._rows, chunk) if waits else in_chunks(self._rows, chunk):
            values = [self._values(row) for row in rows]
            whys = [self._why_not(task, row, one) for row, one in zip(rows, values, strict=True)]
            usable = [one for one, why in zip(values, whys, strict=True) if why is None]
            columns = {column: [one[column] for one in usable] for column in self._names}
            found = task.predicted(columns, asked, self.rows) if usable else {}
            told = zip(*found.values(), strict=True)
            for row, why in zip(rows, whys, strict=True):
                predicted = [None] * len(task.predicts) if why is not None else next(told)
                written.write(row.line, row.values, dict(zip(task.predicts, predicted, strict=True)))
            self.rows += len(rows)
            file.flush()

    def _show(self, task: Task, asked: Asked, file: TextIO) -> None:
        """One text after another, each as it is written."""

        def say(text: str) -> None:
            file.write(text)
            file.flush()

        shown = dataclasses.replace(asked, on_text=say)
        for row in self._rows:
            values = self._values(row)
            if self._why_not(task, row, values) is None:
                task.predicted({column: [value] for column, value in values.items()}, shown, self.rows)
            say("\n")
            self.rows += 1

    def _values(self, row: Row) -> dict[str, Any]:
        """The task's columns of a row, by the data set's names or its own.

        Raises:
            UserError: one is not there.
        """
        found = {}
        for column, name in self._names.items():
            key = name if name in row.values else column
            if key not in row.values:
                raise UserError(
                    f"--input: {self._where} has no column '{name}' in line {row.line}; it has: "
                    f"{', '.join(row.values)}; dataset.columns.{column}=... says what it is called"
                )
            found[column] = row.values[key]
        return found

    def _why_not(self, task: Task, row: Row, values: Mapping[str, Any]) -> str | None:
        """Why nothing can be said of a row, which is then remembered."""
        why = next(filter(None, (task.why_not_asked(value, column) for column, value in values.items())), None)
        if why is not None:
            left_out = self.left_out.setdefault(why, LeftOut())
            left_out.count += 1
            if len(left_out.lines) < LISTED:
                left_out.lines.append(row.line)
        return why


def _asked(replayed: Replayed) -> tuple[Task, Asked, int]:
    """The run's task; its model, ready to be asked; and how many examples a batch has."""
    from llama_experiments.tasks.asking import Asked
    from llama_experiments.training.evaluation import predict

    size = replayed.experiment.training.evaluation_batch_size
    result = replayed.run.result()
    trained = replayed.load()
    asked = Asked(
        trained.model,
        trained.tokenizer,
        lambda examples: predict(trained.task_model, examples, size, trained.accelerator, packed=trained.packed),
        trained.accelerator.autocast,
        result is not None and "no_answer_accuracy" in result.metrics,
    )
    return trained.task, asked, size
