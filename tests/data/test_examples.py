"""Examples laid side by side: tokens, padding, lengths, and the ledger of who was there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from llama_experiments.data.examples import Examples, hash_of_indices

TOKENS = [[5, 6, 7], [0], [8, 0, 9, 0], [4, 4]]
GOLDEN_HASH = "fe717980395d895e"
TABLE = pa.table(
    {
        "input_ids": pa.array(TOKENS, pa.list_(pa.int32())),
        "token_labels": pa.array([[1, 1, 1], [2], [3, 3, 3, 3], [4, 4]], pa.list_(pa.int32())),
        "row": [0, 1, 1, 2],
        "count": [2, 1, 3, 1],
        "weight": [0.5, 1.5, 2.5, 3.5],
    }
)


def test_tokens_are_on_the_left_and_lengths_say_where_they_end() -> None:
    batch = Examples(TABLE).batch(np.array([2, 0, 1]))
    assert batch["input_ids"].tolist() == [[8, 0, 9, 0], [5, 6, 7, 0], [0, 0, 0, 0]]
    assert batch["lengths"].tolist() == [4, 3, 1]
    assert batch["index"].tolist() == [2, 0, 1]
    assert batch["token_labels"].tolist() == [[3, 3, 3, 3], [1, 1, 1, 0], [2, 0, 0, 0]]
    assert batch["row"].tolist() == [1, 0, 1]
    assert batch["weight"].tolist() == [2.5, 0.5, 1.5]
    assert {batch[name].dtype for name in ("input_ids", "lengths", "row")} == {torch.int64}


def test_a_packed_batch_has_the_positions_of_each_example_beside_the_rest() -> None:
    examples = Examples(TABLE)
    padded, packed = (examples.batch(np.array([2, 0, 1]), packed) for packed in (False, True))
    assert packed["position_ids"].tolist() == [[0, 1, 2, 3]] * 3
    assert packed.keys() - padded.keys() == {"position_ids"}
    assert all(torch.equal(tensor, packed[name]) for name, tensor in padded.items())


def test_a_batch_is_as_wide_as_its_longest_example() -> None:
    examples = Examples(TABLE)
    widths = [examples.batch(np.array(rows))["input_ids"].shape for rows in ([1], [1, 3], [0, 1, 2, 3])]
    assert widths == [(1, 1), (2, 2), (4, 4)]


def test_lengths_and_counts_are_those_of_the_table() -> None:
    examples = Examples(TABLE)
    assert len(examples) == 4
    assert examples.lengths.tolist() == [3, 1, 4, 2]
    assert examples.counts.tolist() == [2, 1, 3, 1]


@pytest.mark.parametrize("index", range(4))
def test_a_table_in_pieces_is_the_same_examples(index: int) -> None:
    pieces = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 2), TABLE.slice(3)])
    assert pieces.column("input_ids").num_chunks == 3
    whole, split = Examples(TABLE).batch(np.array([index])), Examples(pieces).batch(np.array([index]))
    assert all(torch.equal(tensor, split[name]) for name, tensor in whole.items())


def test_a_slice_of_a_table_is_its_own_rows() -> None:
    examples = Examples(TABLE.slice(2, 2))
    assert examples.lengths.tolist() == [4, 2]
    assert examples.batch(np.array([0, 1]))["input_ids"].tolist() == [[8, 0, 9, 0], [4, 4, 0, 0]]


def test_a_batch_is_a_copy_that_may_be_changed(tmp_path: Path) -> None:
    """The examples are a memory map, which can only be read."""
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    with pa.memory_map(str(tmp_path / "t.arrow")) as source:
        examples = Examples(pa.ipc.open_file(source).read_all())
    batch = examples.batch(np.array([0]))
    for tensor in batch.values():
        tensor.add_(1)
    again = examples.batch(np.array([0]))
    assert again["input_ids"].tolist() == [[5, 6, 7]]
    assert again["lengths"].tolist() == [3]


def test_the_ledger_is_the_one_that_old_runs_had() -> None:
    """A golden value: a recorded run is compared with a new one by these."""
    assert hash_of_indices(np.array([3, 1, 2])) == GOLDEN_HASH
    assert hash_of_indices(np.array([3, 1, 2], dtype=np.int32)) == GOLDEN_HASH  # whatever holds the indices
    assert hash_of_indices(np.array([9, 3, 9, 1, 9, 2])[1::2]) == GOLDEN_HASH


def test_the_ledger_tells_order_and_membership() -> None:
    seen = [hash_of_indices(np.array(rows)) for rows in ([1, 2, 3], [3, 2, 1], [1, 2], [1, 2, 3, 0], [])]
    assert len(set(seen)) == len(seen)
