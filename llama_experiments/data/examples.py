"""Encoded examples, and batches of them: tokens on the left, padding on the right, lengths beside."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import torch

    from llama_experiments.data.rows import Rows

Batch = Mapping[str, "torch.Tensor"]


class Examples:
    """A part's examples, column by column over memory-mapped Arrow data.

    A table needs the columns `input_ids` (a list of tokens for each example), `row` (its row in the part) and
    `count` (how many items its loss is a sum of). Other columns are a task's own: a list runs beside the tokens.
    `rows` are the rows they were made of; columns named in `beside` are for scoring and stay out of batches.
    """

    def __init__(self, table: pa.Table, rows: Rows | None = None, beside: Collection[str] = ()) -> None:
        self._rows, self._beside = rows, beside
        self.fixed: dict[str, np.ndarray] = {}  # name -> [examples]
        self.ragged: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # name -> flat values, offsets
        for name in table.column_names:
            column = table.column(name)
            # A kept table has one chunk, which stays where it is mapped; several are copied into one.
            array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
                self.ragged[name] = (array.values.to_numpy(), array.offsets.to_numpy().astype(np.int64, copy=False))
            else:
                self.fixed[name] = array.to_numpy(zero_copy_only=False)
        self.offsets = self.ragged["input_ids"][1]
        self.lengths = np.diff(self.offsets)  # [examples] tokens
        self.counts = self.fixed["count"]  # [examples] items of the loss
        self.states: torch.Tensor | None = None  # of a frozen trunk, [tokens, hidden] or, pooled, [examples, hidden]
        self.pooled = False

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def rows(self) -> Rows:
        """The rows that the examples were made of."""
        assert self._rows is not None, "made without rows"
        return self._rows

    @property
    def weights(self) -> np.ndarray:
        """[examples] what each counts for in a step's objective: its items, if the task gives it no other weight."""
        return self.fixed.get("weight", self.counts)

    def with_weights(self, weights: np.ndarray) -> Examples:
        """The same examples; batches have the column `weight`."""
        made = copy.copy(self)
        made.fixed = self.fixed | {"weight": weights}
        return made

    def with_states(self, states: torch.Tensor, *, pooled: bool) -> Examples:
        """The same examples with what a frozen trunk says of each of their tokens, or of each of them.

        Batches have the column `states` [batch, length, hidden], zeros at padding, or `pooled` [batch, hidden].
        """
        made = copy.copy(self)
        made.states, made.pooled = states, pooled
        return made

    def batch(self, indices: np.ndarray, packed: bool = False) -> dict[str, torch.Tensor]:
        """Examples side by side: `input_ids` and other lists [batch, length], `lengths` and the rest [batch].

        The padding is 0, which may be a real token: what is padding is told by `lengths` and by nothing else.
        Where the states are pooled there are no `input_ids`: nothing is left to read them.
        A packed batch has `position_ids` [batch, length] too: the trunk then lays its examples end to end.
        """
        import torch

        length = int(self.lengths[indices].max())
        batch = {"lengths": torch.from_numpy(self.lengths[indices]), "index": torch.from_numpy(indices)}
        for name, (values, offsets) in self.ragged.items():
            if name in self._beside or (name == "input_ids" and self.pooled):
                continue
            padded = np.zeros((len(indices), length), dtype=np.int64)
            for position, index in enumerate(indices):
                start, end = offsets[index], offsets[index + 1]
                padded[position, : end - start] = values[start:end]
            batch[name] = torch.from_numpy(padded)
        for name, column in self.fixed.items():
            batch[name] = torch.from_numpy(column[indices])
        if self.states is not None:
            batch |= self._states_of(indices, length)
        if packed:
            batch["position_ids"] = torch.arange(length).repeat(len(indices), 1)
        return batch

    def _states_of(self, indices: np.ndarray, length: int) -> dict[str, torch.Tensor]:
        import torch

        assert self.states is not None
        if self.pooled:
            return {"pooled": self.states[torch.from_numpy(indices)]}
        padded = self.states.new_zeros(len(indices), length, self.states.shape[1])
        for position, index in enumerate(indices):
            start, end = self.offsets[index], self.offsets[index + 1]
            padded[position, : end - start] = self.states[start:end]
        return {"states": padded}


def hash_of_indices(indices: np.ndarray) -> str:
    """A step's examples as a short hash: the sample ledger."""
    return hashlib.blake2b(np.ascontiguousarray(indices, dtype="<i8").tobytes(), digest_size=8).hexdigest()
