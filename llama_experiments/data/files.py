"""Local files as tables of rows, and what is wrong with them in a sentence."""

from __future__ import annotations

import csv
import itertools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.data.broken_files import DELIMITERS, check_encoding, diagnosis, text_of
from llama_experiments.data.squad import read_squad
from llama_experiments.errors import UserError, offer
from llama_experiments.files import open_file

if TYPE_CHECKING:
    from datasets import Dataset as Table

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
    ".tokens": "text",
    ".md": "text",
}
SAVED = "saved"  # the format of a folder that `datasets` saved
FIRST_ROWS = 100  # of a JSONL file, which tell its columns
LONGEST_FIELD = (1 << 31) - 1  # bytes; the csv module takes 128 KiB unless told


def file_problem(path: Path, file_format: str = "auto") -> str | None:
    """What is wrong with a file that can be told without reading it through, or None."""
    if not path.exists():
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
        if not path.parent.is_dir():
            return f"no file {path}: there is no folder {path.parent}"
        return f"no file {path}; {offer(path.name, siblings[:200], 'files there')}"
    if path.is_dir():
        return _folder_problem(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not start:
        return f"{path} is empty"
    if file_format == "auto" and _suffix(path) not in SUFFIXES:
        return f"{path.name} has a suffix that says no format; set dataset.format (csv, tsv, json, parquet or text)"
    if "parquet" in (file_format, SUFFIXES.get(_suffix(path))) and start != b"PAR1":
        return f"{path} is not a Parquet file: it does not begin like one"
    return None


def _folder_problem(path: Path) -> str | None:
    """What is wrong with a folder as one that `datasets` saved, or None."""
    if (path / "dataset_dict.json").is_file():
        splits = sorted(child.name for child in path.iterdir() if _is_saved(child))
        return f"{path} holds several splits; give one of their folders: {', '.join(str(path / s) for s in splits)}"
    if not _is_saved(path):
        return f"{path} is a folder where a file belongs; for all its files write '{path}/*.csv'"
    return None


def _is_saved(path: Path) -> bool:
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def quiet_datasets() -> None:
    """`datasets` without bars, logs and files of its own beside the user's data."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what fails is told in a sentence of ours
    datasets.disable_caching()  # of what is derived from a table: a chosen subset goes to a temporary file


def read_files(paths: list[Path], file_format: str, sample_by: str) -> Table:
    """The rows of files of one format, in order, memory-mapped. Text columns of CSV and TSV stay text.

    Raises:
        UserError: missing, empty, binary or not UTF-8, not of its format, or without rows.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    quiet_datasets()
    for path in paths:
        if (sentence := file_problem(path, file_format)) is not None:
            raise UserError(sentence)
    formats = {_format(path, file_format) for path in paths}
    if len(formats) > 1:
        raise UserError(f"files of different formats: {', '.join(sorted(formats))}; give files of one format")
    kind = formats.pop()
    if kind == SAVED:
        return _read_saved(paths)
    if kind != "parquet":
        for path in paths:
            check_encoding(path)
    options: dict[str, Any] = {}
    if kind == "squad":
        return read_squad(paths)
    if kind in ("json", "parquet") and len(paths) > 1:
        _same_columns(paths, [_columns_of(path, kind) for path in paths])
    if kind in DELIMITERS:
        header = _common_header(paths, DELIMITERS[kind])
        # Every column as text: "NA" is a word here, and labels are converted when their names are known.
        options = {
            "sep": DELIMITERS[kind],
            "features": datasets.Features({name: datasets.Value("string") for name in header}),
            "keep_default_na": False,
            "encoding": "utf-8-sig",
        }
    elif kind == "text":
        options = {"sample_by": sample_by, "encoding": "utf-8-sig"}
    builder = "csv" if kind in DELIMITERS else kind
    files = [str(path) for path in paths]
    try:
        table = datasets.load_dataset(builder, data_files=files, split="train", **options)
    except (DatasetGenerationError, ValueError, OSError, TypeError) as error:
        if "corresponds to no data" in str(error):
            raise _no_rows(paths) from error
        raise UserError(diagnosis(paths, kind, error)) from error
    if not len(table):
        raise _no_rows(paths)
    return table


def _no_rows(paths: list[Path]) -> UserError:
    return UserError(f"{', '.join(path.name for path in paths)}: there are no rows in it")


def _format(path: Path, file_format: str) -> str:
    if path.is_dir():
        return SAVED
    return SUFFIXES[_suffix(path)] if file_format == "auto" else file_format


def _read_saved(paths: list[Path]) -> Table:
    import datasets

    tables = []
    for path in paths:
        try:
            table = datasets.load_from_disk(str(path))
        except (OSError, ValueError, TypeError, KeyError) as error:
            said = " ".join(str(error).split())[:300]
            raise UserError(f"{path} cannot be read as a saved data set: {said}") from error
        assert isinstance(table, datasets.Dataset)
        tables.append(table.with_format(None))  # it may have been saved as tensors
    _same_columns(paths, [table.column_names for table in tables])
    try:
        joined = datasets.concatenate_datasets(tables)
    except ValueError as error:
        raise UserError(f"{', '.join(map(str, paths))} do not fit together: {error}") from error
    if not len(joined):
        raise _no_rows(paths)
    return joined


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _common_header(paths: list[Path], delimiter: str) -> list[str]:
    csv.field_size_limit(LONGEST_FIELD)
    headers = []
    for path in paths:
        with open_file(path) as stream:
            rows = csv.reader(text_of(stream), delimiter=delimiter)
            header = next(rows, [])
            if next(rows, None) is None:
                raise UserError(f"{path.name} has a header but no rows")
        if len(set(header)) != len(header):
            raise UserError(f"{path.name}: two columns have the same name: {', '.join(header)}")
        headers.append(header)
    _same_columns(paths, headers)
    return headers[0]


def _same_columns(paths: list[Path], columns: list[list[str]]) -> None:
    for path, names in zip(paths[1:], columns[1:], strict=True):
        if sorted(names) != sorted(columns[0]):
            raise UserError(
                f"{path.name} has the columns {', '.join(names)}, but {paths[0].name} has {', '.join(columns[0])}"
            )


def _columns_of(path: Path, kind: str) -> list[str]:
    """The columns of a Parquet or JSON file, as far as its first rows tell; none where it is broken."""
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(path).names)
        except pa.ArrowInvalid as error:
            raise UserError(f"{path.name} is not a whole Parquet file: {error}") from error
    return list(dict.fromkeys(name for row in _first_json_rows(path) if isinstance(row, dict) for name in row))


def _first_json_rows(path: Path) -> list[Any]:
    with open_file(path) as stream:
        lines = text_of(stream)
        try:
            first = lines.readline()
            if first.lstrip().startswith("["):
                return list(json.loads(first + lines.read()))[:FIRST_ROWS]
            return [json.loads(line) for line in [first, *itertools.islice(lines, FIRST_ROWS)] if line.strip()]
        except (ValueError, RecursionError):  # told with its place when the file is read
            return []
