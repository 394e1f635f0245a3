"""What is wrong with a file that cannot be read, with its line: what the libraries do not tell."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import BinaryIO

from llama_experiments.errors import UserError
from llama_experiments.files import open_file

DELIMITERS = {"csv": ",", "tsv": "\t"}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
CHUNK = 1 << 20


def check_encoding(path: Path) -> None:
    """Refuse binary and non-UTF-8 files with the place of the first wrong byte."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    try:
        with open_file(path) as stream:
            while chunk := stream.read(CHUNK):
                if line == 1 and chunk.startswith(UTF_16):
                    raise UserError(
                        f"{path.name} is UTF-16, not UTF-8; convert it, for example: "
                        f"iconv -f utf-16 -t utf-8 {path.name}"
                    )
                if b"\0" in chunk:
                    raise UserError(f"{path.name} is a binary file (a zero byte near line {line}), not text")
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    # The decoder may hold a few bytes of the chunk before; they hold no line break.
                    line += chunk.count(b"\n", 0, max(error.start, 0))
                    raise UserError(
                        f"{path.name} is not UTF-8 (line {line}, byte 0x{error.object[error.start]:02x}); "
                        f"convert it, for example: iconv -f latin1 -t utf-8 {path.name}"
                    ) from error
                line += chunk.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} ends in the middle of a UTF-8 character") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path.name} is not a whole gzip file: {error}") from error


def text_of(stream: BinaryIO) -> io.TextIOWrapper:
    """A file's text, its line breaks as they are."""
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def diagnosis(paths: list[Path], kind: str, error: BaseException) -> str:
    """The library's failure in a sentence, with the line where it can be found."""
    for path in paths:
        sentence = _broken_json(path) if kind == "json" else None
        if kind in DELIMITERS:
            sentence = _broken_table(path, DELIMITERS[kind])
        if sentence is not None:
            return sentence
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    names = ", ".join(path.name for path in paths)
    return f"{names} cannot be read as {kind}: {' '.join(str(cause).split())[:300]}"


def _broken_table(path: Path, delimiter: str) -> str | None:
    with open_file(path) as stream:
        rows = csv.reader(text_of(stream), delimiter=delimiter, strict=True)
        columns, line = len(next(rows, [])), 2
        try:
            for row in rows:
                if len(row) > columns:
                    return f"{path.name}: line {line} has {len(row)} fields, but the header has {columns}"
                line = rows.line_num + 1
        except csv.Error as error:
            return f"{path.name}: the row that begins in line {line} does not end as CSV should: {error}"
    return None


def _broken_json(path: Path) -> str | None:
    with open_file(path) as stream:
        text = stream.read().decode("utf-8-sig")
    if text.lstrip().startswith("["):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            return f"{path.name} is not JSON: {error.msg} at line {error.lineno}"
        except (ValueError, RecursionError) as error:
            return f"{path.name} is not JSON: {error}"
        return None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                return f"{path.name}: line {number} is not JSON: {error.msg} at column {error.colno}"
            except (ValueError, RecursionError) as error:
                return f"{path.name}: line {number} is not JSON: {error}"
            if not isinstance(row, dict):
                return f"{path.name}: line {number} is not an object with columns"
    return None
