"""Tokenized rows, kept by content: the same rows, tokenizer and settings are never tokenized twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llama_experiments.data.examples import Examples
from llama_experiments.errors import UserError
from llama_experiments.files import replaced

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.base import Task

VERSION = 1  # of the encoding: raised when the same inputs give other tokens
BATCH_ROWS = 2_000


def encode(rows: Rows, task: Task, tokenizer: PreTrainedTokenizerFast, cache: Path) -> Examples:
    """The rows as examples, from `cache` when they are there.

    Raises:
        UserError: no row gives an example.
    """
    key = _content_key(rows, task, tokenizer)
    file = cache / f"{key}.arrow"
    if not file.exists():
        with replaced(file) as beside:
            _write(rows, task, tokenizer, beside)
    with pa.memory_map(str(file)) as source:
        return Examples(pa.ipc.open_file(source).read_all(), rows, task.beside)


def _write(rows: Rows, task: Task, tokenizer: PreTrainedTokenizerFast, file: Path) -> None:
    writer, schema = None, None
    with pa.OSFile(str(file), "wb") as sink:
        for first_row, columns in _batches(rows):
            encoded = pa.table(task.encode(columns, first_row, tokenizer))
            if not len(encoded):
                continue  # it has no types either
            schema = schema or _schema(encoded)
            writer = writer or pa.ipc.new_file(sink, schema)
            writer.write_table(encoded.cast(schema))
        if writer is None:
            raise UserError(f"dataset.{rows.part}: no row of {rows.where} is long enough to learn from")
        writer.close()


def _schema(encoded: pa.Table) -> pa.Schema:
    """The examples' columns, lists as 32-bit integers: half the size."""
    lists = pa.list_(pa.int32())
    return pa.schema(
        (field.name, lists if pa.types.is_nested(field.type) else field.type) for field in encoded.schema
    )


def _content_key(rows: Rows, task: Task, tokenizer: PreTrainedTokenizerFast) -> str:
    digest = hashlib.blake2b(digest_size=16)
    settings = json.dumps(task.encoding_settings(), sort_keys=True)
    # Which tokens begin and end a text is not the backend's to know.
    ends = f"bos {tokenizer.bos_token_id} eos {tokenizer.eos_token_id}"
    for part in (f"encoding {VERSION}", settings, tokenizer.backend_tokenizer.to_str(), ends):
        digest.update(part.encode() + b"\0")
    for _, columns in _batches(rows):
        # JSON keeps the boundaries between values, so that no two tables hash alike.
        digest.update(json.dumps(columns, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _batches(rows: Rows) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    for start in range(0, len(rows), BATCH_ROWS):
        yield start, rows.table[start : start + BATCH_ROWS]


def content_hash(rows: Rows) -> str:
    """The hash of a part's usable rows, for `environment.json`."""
    digest = hashlib.blake2b(digest_size=16)
    for _, columns in _batches(rows):
        digest.update(json.dumps(columns, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
