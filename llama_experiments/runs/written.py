"""What a run wrote, read again: its files may have been edited, cut off or sent by somebody, and are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llama_experiments.errors import ConfigError, UserError
from llama_experiments.files import read_json
from llama_experiments.paths import show
from llama_experiments.runs.journal import read_journal

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

# What is read of environment.json: a dotted path and its type; * is each part of the data.
OF_AN_ENVIRONMENT: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("data.*.hash", str),
    ("data.*.rows", int),
    ("data.*.source", str),
    ("data.validation.hash", str),
    ("device.threads", int),
    ("model.starting_weights_hash", str),
    ("versions", dict),
    ("git", (dict, type(None))),
)
NUMBERS = (int, float)


def damaged(file: Path, why: str) -> UserError:
    """The refusal of a file."""
    return UserError(f"{show(file)} is damaged: {why}; copy the run again")


def as_written(told: Mapping[str, Any], kind: type[T], file: Path) -> T:
    """One of our dataclasses from what a file has of it.

    Raises:
        UserError: other fields, or other types.
    """
    from llama_experiments.config import build

    try:
        return build(told, kind)
    except ConfigError as error:
        why = f"{error.mistakes[0]}; or it is of another version of this program"
        raise damaged(file, why) from error


def read_environment(file: Path) -> dict[str, Any]:
    """What a run's numbers depend on beside its config.

    Raises:
        UserError: the file is damaged.
    """
    told = read_json(file)
    for path, kind in OF_AN_ENVIRONMENT:
        for value in _values(told, path.split(".")):
            if not isinstance(value, kind) or isinstance(value, bool):
                raise damaged(file, f"{path} is missing or not what a run writes")
    git = told["git"]
    if git is not None and not {"commit", "changed"} <= git.keys():
        raise damaged(file, "git is not what a run writes")
    return told


def _values(node: Any, keys: list[str]) -> list[Any]:
    """The values at a path; an object in the place of what is not there."""
    if not keys:
        return [node]
    if not isinstance(node, dict):
        return [object()]
    if keys[0] == "*":
        return [found for value in node.values() for found in _values(value, keys[1:])]
    return _values(node.get(keys[0], object()), keys[1:])


def read_records(file: Path, *keys: str) -> list[dict[str, Any]]:
    """A run's journal, whose records have numbers for `keys`.

    Raises:
        UserError: it is missing or damaged.
    """
    records = read_journal(file)
    for number, record in enumerate(records, 1):
        for key in keys:
            if not isinstance(record.get(key), NUMBERS) or isinstance(record[key], bool):
                raise damaged(file, f"{key} is missing or no number in record {number}")
    return records


def read_names(file: Path) -> list[str]:
    """The columns of a run's predictions.

    Raises:
        UserError: it is no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        raise _no_parquet(file, error) from error


def _no_parquet(file: Path, error: Exception) -> UserError:
    return damaged(file, f"it cannot be read as Parquet: {' '.join(str(error).split())[:200]}")


def read_numbers(file: Path, *needed: str, perhaps: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Columns of a run's predictions by name; of those it may lack the ones that are there.

    Raises:
        UserError: it is no Parquet file, lacks a needed column, or has one that is not of numbers.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Neither read_table nor to_numpy, which import pandas: that takes longer than all else here.
        table = pq.ParquetFile(file).read([*needed, *perhaps])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _no_parquet(file, error) from error
    columns = {}
    for name in (*needed, *(name for name in perhaps if name in table.column_names)):
        try:
            columns[name] = np.from_dlpack(table[name].combine_chunks())
        except (KeyError, pa.ArrowException, BufferError) as error:
            raise damaged(file, f"it has no column '{name}' of numbers") from error
    if not len(table):
        raise damaged(file, "it has no rows")
    return columns
