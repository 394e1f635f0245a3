"""Rows as a task needs them: its columns, checked, with classes as integers; and what was left out, counted."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset as Table

    from llama_experiments.data.sources import Dataset
    from llama_experiments.tasks.base import Task

BATCH_ROWS = 2_000
LISTED = 20  # row numbers that are told of what was left out


@dataclasses.dataclass(frozen=True)
class Rows:
    """The usable rows of one part: columns named as the task names them."""

    part: str
    where: str  # the source, for messages
    table: Table
    numbers: np.ndarray  # [rows] 1-based row number in the source
    left_out: dict[str, int]  # reason -> rows
    left_out_numbers: dict[str, list[int]] = dataclasses.field(default_factory=dict)  # reason -> the first of them
    repaired: dict[str, list[int]] = dataclasses.field(default_factory=dict)  # what was done -> numbers of the rows

    def __len__(self) -> int:
        return len(self.table)

    @functools.cached_property
    def content_hash(self) -> str:
        """The hash of the rows' contents, whatever they were read from."""
        from llama_experiments.data.content import content_hash

        return content_hash(self.table)


def load_rows(dataset: Dataset, task: Task, wanted: Sequence[str] | None = None) -> dict[str, Rows]:
    """The rows of every part that there is, checked: training, validation, perhaps test; or only of those `wanted`.

    Raises:
        UserError: a column is missing, nothing usable is left, or nothing can be held out.
    """
    wanted = dataset.parts if wanted is None else wanted
    read = [part for part in wanted if not (part == "validation" and dataset.holds_out)]
    if "validation" in wanted and dataset.holds_out and "train" not in wanted:
        read.insert(0, "train")
    tables = {part: _task_columns(dataset, part, task) for part in read}  # what is missing is told before the rest
    parts: dict[str, Rows] = {}
    for part, table in tables.items():
        if part == "train" and dataset.holds_out:
            parts |= _split(dataset, _usable(dataset, part, table, task, np.arange(len(table))), task)
        else:
            parts[part] = _usable(dataset, part, table, task, _subset(dataset, part, np.arange(len(table))))
    return {part: parts[part] for part in wanted}


def _task_columns(dataset: Dataset, part: str, task: Task) -> Table:
    """The part's table with just the task's columns, under the task's names."""
    table = dataset.read(part)
    names = {column: dataset.columns.get(column, column) for column in task.columns}
    for column, name in names.items():
        if name not in table.column_names:
            squad = "; SQuAD's own JSON: dataset=local_squad" if {"data", "version"} <= {*table.column_names} else ""
            raise UserError(
                f"dataset.columns.{column}: there is no column '{name}' in {dataset.source(part)}; "
                f"it has: {', '.join(table.column_names)}{squad}"
            )
    table = table.select_columns(list(dict.fromkeys(names.values())))
    return table.rename_columns({name: column for column, name in names.items() if name != column})


def _subset(dataset: Dataset, part: str, rows: np.ndarray) -> np.ndarray:
    """A seeded choice of `rows` when one was asked for, in their order."""
    size = dataset.subset_size(part)
    if size is None or size >= len(rows):
        return rows
    return rows[np.sort(np.random.default_rng(dataset.subset_seed).permutation(len(rows))[:size])]


def _usable(dataset: Dataset, part: str, table: Table, task: Task, chosen: np.ndarray) -> Rows:
    """The chosen rows without those that the task cannot use."""
    left_out: dict[str, int] = {}
    numbers: dict[str, list[int]] = {}
    kept = np.ones(len(chosen), dtype=bool)
    for start in range(0, len(chosen), BATCH_ROWS):
        batch = chosen[start : start + BATCH_ROWS]
        columns = table[batch] if len(chosen) < len(table) else table[int(batch[0]) : int(batch[-1]) + 1]
        for offset, reason in enumerate(task.reasons_to_leave_out(columns)):
            if reason is not None:
                kept[start + offset] = False
                left_out[reason] = left_out.get(reason, 0) + 1
                if left_out[reason] <= LISTED:
                    numbers.setdefault(reason, []).append(int(batch[offset]) + 1)
    if not kept.any():
        reasons = ", ".join(f"{count} with {reason}" for reason, count in left_out.items())
        kinds = [
            f"{name} is {feature.dtype}, not text"
            for name, feature in table.features.items()
            if name == "text" and getattr(feature, "dtype", "string") not in ("string", "large_string")
        ]
        told = "; ".join([reasons, *kinds])
        raise UserError(f"dataset.{part}: no row of {dataset.source(part)} can be used ({told})")
    usable = _without_json(_select(table, chosen[kept]))
    return Rows(part, dataset.where(part), usable, chosen[kept] + 1, left_out, numbers)


def _without_json(table: Table) -> Table:
    """Columns that held values of several types, now that only texts are left, as texts."""
    import datasets

    for name, feature in table.features.items():
        if not isinstance(feature, datasets.Json):
            continue
        values = table[name][:]
        if all(isinstance(value, str) for value in values):
            table = table.remove_columns(name).add_column(name, values, feature=datasets.Value("string"))
    return table


def _select(table: Table, rows: np.ndarray) -> Table:
    return table if len(rows) == len(table) else table.select(rows)


def _split(dataset: Dataset, rows: Rows, task: Task) -> dict[str, Rows]:
    """Training rows, and the validation rows that are held out of them; what was left out is told with the former."""
    try:
        out = to_hold_out(rows, task, dataset.validation_share, dataset.subset_seed)
    except UserError as error:
        raise UserError(f"dataset.validation: {dataset.source('train')}: {error}") from error
    parts = {}
    for part, mask in (("train", ~out), ("validation", out)):
        chosen = _subset(dataset, part, np.flatnonzero(mask))
        told = (rows.left_out, rows.left_out_numbers) if part == "train" else ({}, {})
        parts[part] = Rows(part, dataset.where(part), _select(rows.table, chosen), rows.numbers[chosen], *told)
    return parts


def to_hold_out(rows: Rows, task: Task, share: float, seed: int) -> np.ndarray:
    """Which rows to hold out: of each class its share, and rows that belong together on one side. [rows] of bool.

    Raises:
        UserError: nothing can be held out.
    """
    from llama_experiments.data.fingerprints import fingerprints
    from llama_experiments.data.holdout import held_out

    together = "context" if "context" in task.columns else task.columns[0]
    classes = np.zeros(len(rows), dtype=np.int64)
    if "label" in task.columns:
        _, classes = _label_values(rows)
    return held_out(fingerprints(rows.table, [together]), classes, share, seed)


def class_names(rows: Rows, given: Sequence[str] | None) -> list[str]:
    """The names of the classes: as given, as the source's features name them, or the labels that occur in `rows`.

    Raises:
        UserError: a row has no label, or only one class occurs.
    """
    occurring, index = _label_values(rows)
    if "" in occurring:
        raise _no_label(rows, int(np.argmax(index == occurring.index(""))))
    values = list(dict.fromkeys(occurring))
    if len(values) < 2:
        raise UserError(f"dataset.train: only one class occurs in {rows.where} ('{values[0]}'); two are needed")
    if given is not None:
        return list(given)
    feature = rows.table.features["label"]
    if hasattr(feature, "names"):
        return list(feature.names)
    return sorted(values, key=int) if all(_is_integer(value) for value in values) else sorted(values)


def class_indices(rows: Rows, names: Sequence[str]) -> list[int]:
    """`rows`' labels as indices into `names`; integers count from 0 when the names are not numbers themselves.

    Raises:
        UserError: a label outside the names, with its row.
    """
    number = {name: position for position, name in enumerate(names)}
    if not any(_is_integer(name) for name in names):
        number |= {str(position): position for position in range(len(names))}
    occurring, index = _label_values(rows)
    outside = [position for position, label in enumerate(occurring) if label not in number]
    if outside:
        row = int(np.argmax(np.isin(index, outside)))
        label = occurring[index[row]]
        if label == "":
            raise _no_label(rows, row)
        raise UserError(
            f"dataset.{rows.part}: row {rows.numbers[row]} of {rows.where} has the label '{_short(label)}', which is "
            f"none of {', '.join(names)}; dataset.labels names the classes"
        )
    found: list[int] = np.array([number[label] for label in occurring])[index].tolist()
    return found


def named_classes(rows: Rows, given: Sequence[str] | None, names: Sequence[str]) -> Rows:
    """`rows` whose integer labels count by names of their own (`given`, or the source's) with the names instead.

    Raises:
        UserError: a class that is none of `names`, a model's.
    """
    import datasets

    feature = rows.table.features["label"]
    theirs = list(given or getattr(feature, "names", None) or names)
    if theirs == list(names):
        return rows
    if outside := [name for name in theirs if name not in names]:
        raise UserError(
            f"dataset.labels: the class '{outside[0]}' is none of the model's, {', '.join(names)}; name them as it "
            "does, in the order in which the integers of the data count"
        )
    labels = [theirs[index] for index in class_indices(rows, theirs)]
    table = rows.table.remove_columns("label").add_column("label", labels, feature=datasets.Value("string"))
    return dataclasses.replace(rows, table=table)


def _label_values(rows: Rows) -> tuple[list[str], np.ndarray]:
    """The labels that occur, as text, and for each row the position of its own: [rows]."""
    import pyarrow.compute as pc

    feature = rows.table.features["label"]
    if isinstance(getattr(feature, "dtype", None), str):
        column = rows.table.select_columns(["label"]).with_format("arrow")[:].column("label")
        values = pc.unique(column)
        return [_plain(value) for value in values.to_pylist()], pc.index_in(column, value_set=values).to_numpy()
    labels = rows.table["label"][:]  # of several types, or what is no label: lists, groups
    if any(isinstance(label, list | dict) for label in labels):
        raise UserError(f"dataset.{rows.part}: the labels of {rows.where} are lists or groups, not text or numbers")
    number = {name: position for position, name in enumerate(dict.fromkeys(map(_plain, labels)))}
    return list(number), np.array([number[_plain(label)] for label in labels])


def _no_label(rows: Rows, row: int) -> UserError:
    return UserError(f"dataset.{rows.part}: row {rows.numbers[row]} of {rows.where} has no label")


def _plain(value: Any) -> str:
    """A label as text: 1, 1.0, '1' and ' 1 ' are the same label; null and NaN are none."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _short(label: str) -> str:
    return label if len(label) <= 60 else label[:57] + "..."


def _is_integer(name: str) -> bool:
    return name.lstrip("-").isdigit()
