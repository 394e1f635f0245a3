"""Texts as people compare them, and as numbers: equal where only case, white space or Unicode's forms differ."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from datasets import Dataset as Table

BATCH_ROWS = 10_000  # how many are in memory at once
# What becomes one space. NFKD knows many spaces as ' ' already; to match single ones, too, takes ten times as long.
OTHER_SPACES = r"\t-\r\x{85}\x{1680}\x{2028}\x{2029}"
COLLAPSED = rf"[ {OTHER_SPACES}]{{2,}}|[{OTHER_SPACES}]"


def fingerprints(table: Table, columns: Sequence[str]) -> np.ndarray:
    """[rows] of uint64: the hash of what stands in `columns`, normalized."""
    parts = [_hashes(texts) for texts in normalized_texts(table, columns)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)


def normalized_texts(
    table: Table, columns: Sequence[str], chosen: np.ndarray | None = None
) -> Iterator[pa.LargeStringArray]:
    """What stands in `columns` as one text a row, normalized, many rows at a time; of all rows or the `chosen`."""
    arrow = table.with_format("arrow")
    size = len(table) if chosen is None else len(chosen)
    for start in range(0, size, BATCH_ROWS):
        end = min(start + BATCH_ROWS, size)
        batch: pa.Table = arrow[start:end] if chosen is None else arrow[chosen[start:end]]
        texts = [normalized(_as_text(batch.column(name))) for name in columns]
        # A line break stands in none of them, so that no two rows are joined alike.
        line_break = pa.scalar("\n", pa.large_string())
        yield texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, line_break)


def normalized(texts: pa.Array) -> pa.LargeStringArray:
    """Unicode NFKD, lower case, white space collapsed to single spaces and none at the ends.

    Two texts are the same in NFKD exactly if they are in NFKC, and Arrow's NFKC does not compose.
    """
    if pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.ascii_lower(texts)
    else:
        texts = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKD"))
    return pc.utf8_trim(pc.replace_substring_regex(texts, COLLAPSED, " "), " ")


def _as_text(column: pa.ChunkedArray) -> pa.LargeStringArray:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no rows
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_nested(array.type):  # a chat's messages
        array = pa.array([json.dumps(value, ensure_ascii=False) for value in array.to_pylist()], pa.large_string())
    return array.cast(pa.large_string()).fill_null("")


def _hashes(texts: pa.LargeStringArray) -> np.ndarray:
    _, offsets, values = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1].tolist()
    view = memoryview(values if values is not None else b"")
    digests = [hashlib.blake2b(view[start:end], digest_size=8).digest() for start, end in itertools.pairwise(bounds)]
    return np.frombuffer(b"".join(digests), dtype="<u8")
