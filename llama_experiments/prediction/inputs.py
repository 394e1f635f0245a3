"""Rows read one after another, in memory that does not grow with their number; what is wrong with them, and where."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import queue
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from llama_experiments.data.broken_files import DELIMITERS, UTF_16
from llama_experiments.data.files import LONGEST_FIELD, SUFFIXES, file_problem
from llama_experiments.errors import UserError
from llama_experiments.files import open_file

FORMATS = ("csv", "tsv", "json", "parquet", "text")
LONGEST_LINE = 1 << 28  # bytes
PAUSE = 0.05  # seconds without a new row after which those that came are not kept waiting


class Row(NamedTuple):
    """A row of the input, and where it is: the line on which it ends, or its number in a Parquet file."""

    line: int
    values: dict[str, Any]


def open_rows(source: str, kind: str, wanted: Collection[str]) -> tuple[str, Iterator[Row]]:
    """The format and the rows of a file, or of the standard input where `source` is '-'.

    Args:
        kind: one of FORMATS, or auto: by a file's suffix, on the standard input by its first line.
        wanted: the columns that a row needs; a line of text is the only one of them.

    Raises:
        UserError: no such file, or a format that is not known; while reading, what is wrong with which line.
    """
    if source == "-":
        # A reader of its own: at the end of the process another thread may still be waiting for a line.
        stream: BinaryIO = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115
        return _rows(stream, "the standard input", kind, wanted)
    path = Path(source).expanduser()
    if path.is_dir():
        raise UserError(f"--input: {path} is a folder; give a file")
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind == "auto" and path.exists() and suffix not in SUFFIXES:
        raise UserError(
            f"--input: {path.name} has a suffix that says no format; say it with --input-format "
            f"({', '.join(FORMATS)})"
        )
    kind = SUFFIXES[suffix] if kind == "auto" and path.exists() else kind
    if (sentence := file_problem(path, kind)) is not None:
        raise UserError(f"--input: {sentence}")
    if kind == "parquet":
        return kind, _parquet(path)
    return _rows(open_file(path), path.name, kind, wanted)


def in_chunks(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """As many rows at a time."""
    while chunk := list(itertools.islice(rows, size)):
        yield chunk


def as_they_come(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """Up to so many rows at a time, fewer where the next one is not there yet."""
    arrived: queue.Queue[Row | BaseException | None] = queue.Queue(maxsize=2 * size)

    def read() -> None:
        try:
            for row in rows:
                arrived.put(row)
        except BaseException as error:  # raised again where the rows before it are done
            arrived.put(error)
        else:
            arrived.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        found, chunk = arrived.get(), list[Row]()
        while isinstance(found, Row):
            chunk.append(found)
            if len(chunk) == size:
                break
            try:
                found = arrived.get(timeout=PAUSE)
            except queue.Empty:
                break
        if chunk:
            yield chunk
        if isinstance(found, BaseException):
            raise found
        if found is None:
            return


def _rows(stream: BinaryIO, name: str, kind: str, wanted: Collection[str]) -> tuple[str, Iterator[Row]]:
    lines = _lines(stream, name)
    if kind == "auto":
        first = next(lines, None)
        if first is None:
            return "text", iter(())
        kind = _kind_of(first[1], wanted)
        lines = itertools.chain([first], lines)
    if kind in DELIMITERS:
        return kind, _table(lines, name, DELIMITERS[kind])
    if kind == "json":
        return kind, _json(lines, name)
    if len(wanted) != 1:
        raise UserError(
            f"--input: a line of text is one column, and the rows of this run need {' and '.join(wanted)}: give CSV, "
            "JSONL or Parquet"
        )
    (column,) = wanted
    return kind, (Row(number, {column: line.rstrip("\r\n")}) for number, line in lines)


def _kind_of(first: str, wanted: Collection[str]) -> str:
    """What the standard input is, by its first line: JSONL, a table with the columns that are needed, or text."""
    if first.lstrip().startswith(("{", "[")):
        try:
            json.loads(first)
            return "json"
        except ValueError:
            pass  # a text that begins with a bracket
    for kind, delimiter in DELIMITERS.items():
        header = next(csv.reader([first], delimiter=delimiter), [])
        if set(wanted) <= set(header) and (len(header) > 1 or len(wanted) == 1):
            return kind
    return "text" if len(wanted) == 1 else "csv"


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with their line breaks."""
    number = 0
    try:
        while line := stream.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise UserError(f"--input: line {number} of {name} is longer than {LONGEST_LINE >> 20} MiB")
            if number == 1:
                if line.startswith(UTF_16):
                    raise UserError(f"--input: {name} is UTF-16, not UTF-8; convert it: iconv -f utf-16 -t utf-8")
                line = line.removeprefix(b"\xef\xbb\xbf")
            if b"\0" in line:
                raise UserError(f"--input: {name} is a binary file (a zero byte in line {number}), not text")
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                wrong = line[error.start]
                raise UserError(
                    f"--input: {name} is not UTF-8 (line {number}, byte 0x{wrong:02x}); convert it, for example: "
                    "iconv -f latin1 -t utf-8"
                ) from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"--input: {name} is not a whole gzip file: {error}") from error


def _table(lines: Iterator[tuple[int, str]], name: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    begins = 1
    try:
        header = next(rows, [])
        if len(set(header)) != len(header):
            raise UserError(f"--input: {name}: two columns have the same name: {', '.join(header)}")
        begins = 2
        for fields in rows:
            if len(fields) > len(header):
                raise UserError(
                    f"--input: {name}: line {begins} has {len(fields)} fields, but the header has {len(header)}"
                )
            if fields:
                yield Row(begins, dict(itertools.zip_longest(header, fields, fillvalue="")))
            begins = rows.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"--input: {name}: the row that begins in line {begins} does not end as CSV should: {error}"
        ) from error


def _json(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Row]:
    """An object a line; or, read whole, one array of objects."""
    for number, line in lines:
        if not line.strip():
            continue
        if line.lstrip().startswith("["):
            yield from _array(line, lines, name)
            return
        yield Row(number, _object(line, f"{name}: line {number}"))


def _array(first: str, lines: Iterator[tuple[int, str]], name: str) -> Iterator[Row]:
    try:
        values = json.loads(first + "".join(line for _, line in lines))
    except json.JSONDecodeError as error:
        raise UserError(f"--input: {name} is not JSON: {error.msg} at line {error.lineno}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"--input: {name} is not JSON that can be read: {error}") from error
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise UserError(f"--input: {name}: element {number} is not an object with columns")
        yield Row(number, value)


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"--input: {where} is not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"--input: {where} is not JSON that can be read: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"--input: {where} is not an object with columns")
    return value


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1_000):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, values)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"--input: {path.name} is not a whole Parquet file: {error}") from error
