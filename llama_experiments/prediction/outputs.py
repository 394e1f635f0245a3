"""Rows with what was predicted of them, written as they come: a file appears whole, when all is done."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from llama_experiments.errors import UserError
from llama_experiments.files import replaced

FORMATS = ("csv", "tsv", "jsonl", "text")
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
DELIMITERS = {"csv": ",", "tsv": "\t"}
DIGITS = 6  # of a probability: what the next ones say depends on the rows beside


@contextlib.contextmanager
def opened(output: str | None) -> Iterator[TextIO]:
    """The file, which takes its place when the block ends well; without one the standard output."""
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        replaced(Path(output).expanduser()) as beside,
        # Half a character, which JSON can spell, is spelled so again.
        beside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        yield stream
        stream.flush()


class Rows:
    """Writes rows in one format."""

    def __init__(self, stream: TextIO, kind: str, predicts: Sequence[str]) -> None:
        self._stream, self._kind, self._predicts = stream, kind, predicts
        self._columns: list[str] = []  # of a table
        self._table: Any = None

    def write(self, line: int, values: Mapping[str, Any], predicted: Mapping[str, Any]) -> None:
        """One row of the input, with what was predicted after its own columns.

        Raises:
            UserError: a column that there is no place for.
        """
        if taken := [name for name in self._predicts if name in values]:
            raise UserError(
                f"--input: the rows have a column '{taken[0]}' already, which is the prediction's name; rename it"
            )
        row = {**values, **{name: _rounded(value) for name, value in predicted.items()}}
        if self._kind == "text":
            told = predicted[self._predicts[0]]
            self._stream.write(" ".join(str("" if told is None else told).split("\n")) + "\n")
        elif self._kind == "jsonl":
            self._stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        else:
            self._in_table(line, row)

    def flush(self) -> None:
        """Hand on what there is."""
        self._stream.flush()

    def _in_table(self, line: int, row: Mapping[str, Any]) -> None:
        if self._table is None:
            self._columns = list(row)
            self._table = csv.writer(self._stream, delimiter=DELIMITERS[self._kind], lineterminator="\n")
            self._table.writerow(self._columns)
        if new := [name for name in row if name not in self._columns]:
            raise UserError(
                f"--input: line {line} has a column '{new[0]}', which the first row has not; --format=jsonl takes any"
            )
        self._table.writerow([_cell(row.get(name)) for name in self._columns])


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)
    return value
