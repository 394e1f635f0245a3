"""The hash of rows' contents, over Arrow's buffers: the same in whatever files and chunks they lie."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from datasets import Dataset as Table

BATCH_ROWS = 2_000  # how many are in memory at once; part of what the hash is


def content_hash(table: Table) -> str:
    """The hash of all values, their types, order, and the names of their columns."""
    digest = hashlib.blake2b(digest_size=16)
    arrow = table.with_format("arrow")
    for start in range(0, len(table), BATCH_ROWS):
        batch: pa.Table = arrow[start : start + BATCH_ROWS]
        for name in batch.column_names:
            digest.update(f"{name}\0".encode())
            column = batch.column(name).combine_chunks()
            _add(digest, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return digest.hexdigest()


def _add(digest: Any, array: pa.Array) -> None:
    """Feed an array; with the lengths of texts and lists, so that no two arrays are fed alike."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    digest.update(f"{len(array)} {array.null_count}\0".encode())
    if array.null_count:
        digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)))
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            digest.update(f"{kind.field(index).name}\0".encode())
            _add(digest, pc.struct_field(array, [index]))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        _lengths(digest, pc.list_value_length(array))
        _add(digest, array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_binary(kind):
        _lengths(digest, pc.binary_length(array))
        digest.update(_bytes(array))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        digest.update(f"{kind}\0".encode())
        filled = array.fill_null(False if pa.types.is_boolean(kind) else 0) if array.null_count else array
        digest.update(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)))
    elif not pa.types.is_null(kind):  # dates, times, decimals, dictionaries
        _add(digest, array.cast(pa.string()))


def _lengths(digest: Any, lengths: pa.Array) -> None:
    digest.update(lengths.fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False))


def _bytes(array: pa.Array) -> memoryview:
    """The values of texts, one after the other, where they lie."""
    if array.null_count:
        array = array.drop_null()  # what lies under a null is anything
    if not len(array):
        return memoryview(b"")
    _, offsets, values = array.buffers()
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    bounds = np.frombuffer(offsets, dtype=np.int64 if wide else np.int32)
    first, end = int(bounds[array.offset]), int(bounds[array.offset + len(array)])
    return memoryview(b"" if values is None else values)[first:end]


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
