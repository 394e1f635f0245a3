"""Rows as a task needs them: its columns, checked, with classes as integers; and what was left out, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llama_experiments.data.sources import PARTS
from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset as Table

    from llama_experiments.data.sources import Dataset
    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Rows:
    """The usable rows of one part: columns named as the task names them."""

    part: str
    where: str  # the source, for messages
    table: Table
    numbers: np.ndarray  # [rows] 1-based row number in the source
    left_out: dict[str, int]  # reason -> rows

    def __len__(self) -> int:
        return len(self.table)


def load_rows(dataset: Dataset, task: Task) -> dict[str, Rows]:
    """The rows of every part, checked. The task's label names come from the training rows when not given.

    Raises:
        UserError: a column is missing, a label is outside the names, nothing usable is left.
    """
    tables = {part: _task_columns(dataset, part, task) for part in PARTS}
    return {part: _usable(dataset, part, table, task) for part, table in tables.items()}


def _task_columns(dataset: Dataset, part: str, task: Task) -> Table:
    """The part's table with just the task's columns, under the task's names."""
    table = dataset.read(part)
    names = {column: dataset.columns.get(column, column) for column in task.columns}
    for column, name in names.items():
        if name not in table.column_names:
            raise UserError(
                f"dataset.columns.{column}: there is no column '{name}' in {dataset.where(part)}; "
                f"it has: {', '.join(table.column_names)}"
            )
    table = table.select_columns(list(dict.fromkeys(names.values())))
    return table.rename_columns({name: column for column, name in names.items() if name != column})


def _usable(dataset: Dataset, part: str, table: Table, task: Task) -> Rows:
    """A seeded subset when one was asked for, without the rows that the task cannot use."""
    numbers = np.arange(len(table))
    size = dataset.subset_size(part)
    if size is not None and size < len(table):
        numbers = np.sort(np.random.default_rng(dataset.subset_seed).permutation(len(table))[:size])
    left_out: dict[str, int] = {}
    kept = []
    for start in range(0, len(numbers), 10_000):
        chunk = numbers[start : start + 10_000]
        columns = table[chunk.tolist()] if len(numbers) < len(table) else table[int(chunk[0]) : int(chunk[-1]) + 1]
        for offset, reason in enumerate(task.reasons_to_leave_out(columns)):
            if reason is None:
                kept.append(int(chunk[offset]))
            else:
                left_out[reason] = left_out.get(reason, 0) + 1
    if not kept:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
        kinds = [
            f"{name} is {feature.dtype}, not text"
            for name, feature in table.features.items()
            if name == "text" and getattr(feature, "dtype", "string") not in ("string", "large_string")
        ]
        told = "; ".join([reasons, *kinds])
        raise UserError(f"dataset.{part}: no row of {dataset.where(part)} can be used ({told})")
    if len(kept) < len(table):
        table = table.select(kept)
    return Rows(part, dataset.where(part), table, np.asarray(kept) + 1, left_out)


def class_names(rows: Rows, given: Sequence[str] | None) -> list[str]:
    """The names of the classes: as given, as the source's features name them, or the labels that occur in `rows`.

    Raises:
        UserError: a row has no label, or only one class occurs.
    """
    labels = [_plain(value) for value in rows.table["label"]]
    if "" in labels:
        number = rows.numbers[labels.index("")]
        raise UserError(f"dataset.{rows.part}: row {number} of {rows.where} has no label")
    values = list(dict.fromkeys(labels))
    if len(values) < 2:
        raise UserError(f"dataset.train: only one class occurs in {rows.where} ('{values[0]}'); two are needed")
    if given is not None:
        return list(given)
    feature = rows.table.features["label"]
    if hasattr(feature, "names"):
        return list(feature.names)
    numeric = all(value.lstrip("-").isdigit() for value in values)
    return sorted(values, key=int) if numeric else sorted(values)


def class_indices(rows: Rows, names: Sequence[str]) -> list[int]:
    """`rows`' labels as indices into `names`; integers count from 0 when the names are not numbers themselves.

    Raises:
        UserError: a label outside the names, with its row.
    """
    index = {name: position for position, name in enumerate(names)}
    if not any(_is_integer(name) for name in names):
        index |= {str(position): position for position in range(len(names))}
    labels = [_plain(value) for value in rows.table["label"]]
    for number, label in zip(rows.numbers, labels, strict=True):
        if label not in index:
            raise UserError(
                f"dataset.{rows.part}: row {number} of {rows.where} has the label '{label}', which is none of "
                f"{', '.join(names)}; dataset.labels names the classes"
            )
    return [index[label] for label in labels]


def _plain(value: Any) -> str:
    """A label as text: 1, 1.0, '1' and ' 1 ' are the same label."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _is_integer(name: str) -> bool:
    return name.lstrip("-").isdigit()
