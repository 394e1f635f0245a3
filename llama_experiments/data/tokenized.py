"""Tokenized rows, kept by content: the same rows, tokenizer and settings are never tokenized twice."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llama_experiments.data.examples import Examples
from llama_experiments.errors import UserError
from llama_experiments.files import replaced

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.base import Task

VERSION = 4  # of the encoding: raised when the same inputs give other tokens
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
    """One record batch, so that each column is one array over the mapped file; it grows on disk, not in memory."""
    columns: dict[str, _Column] = {}
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".tokens-") as folder:
        for first_row, values in _batches(rows):
            encoded = pa.table(task.encode(values, first_row, tokenizer))
            if not len(encoded):
                continue  # it has no types either
            for name in encoded.column_names:
                column = columns.setdefault(name, _Column(Path(folder) / str(len(columns))))
                column.append(encoded.column(name))
        if not columns:
            raise UserError(
                f"dataset.{rows.part}: no row of {rows.where} makes an example: they are too short to learn from, or "
                f"too long for task.max_length={task.max_length}"
            )
        batch = pa.record_batch([column.array() for column in columns.values()], names=list(columns))
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)


class _Column:
    """A column that grows in a file. Lists become 32-bit integers, half the size; only their lengths stay here."""

    def __init__(self, file: Path) -> None:
        self._file, self._stream = file, file.open("wb")
        self._lengths: list[np.ndarray] = []  # of lists
        self._dtype: np.dtype = np.dtype(np.int32)

    def append(self, column: pa.ChunkedArray) -> None:
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            self._lengths.append(pc.list_value_length(column).to_numpy())
            column = pc.list_flatten(column).cast(pa.int32())
        values = column.to_numpy()
        if self._stream.tell() == 0:
            self._dtype = values.dtype
        self._stream.write(values.astype(self._dtype, copy=False).tobytes())

    def array(self) -> pa.Array:
        """The whole column, over the file."""
        self._stream.close()
        mapped = self._file.stat().st_size > 0
        values = np.memmap(self._file, dtype=self._dtype, mode="r") if mapped else np.zeros(0, dtype=self._dtype)
        if not self._lengths:
            return pa.array(values)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths), dtype=np.int64)])
        return pa.LargeListArray.from_arrays(offsets, pa.array(values))


def _content_key(rows: Rows, task: Task, tokenizer: PreTrainedTokenizerFast) -> str:
    digest = hashlib.blake2b(digest_size=16)
    settings = json.dumps(task.encoding_settings(), sort_keys=True)
    # Which tokens begin and end a text, and what a chat looks like, is not the backend's to know.
    beside = f"bos {tokenizer.bos_token_id} eos {tokenizer.eos_token_id} chats {tokenizer.chat_template}"
    for part in (f"encoding {VERSION}", settings, tokenizer.backend_tokenizer.to_str(), beside):
        digest.update(part.encode() + b"\0")
    digest.update(rows.content_hash.encode())
    return digest.hexdigest()


def _batches(rows: Rows) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    for start in range(0, len(rows), BATCH_ROWS):
        yield start, rows.table[start : start + BATCH_ROWS]
