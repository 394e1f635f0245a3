"""The bytes of tensors without contents, as they come and go: the real code runs, and nothing is computed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Ledger(TorchDispatchMode):
    """Counts the storages that operations make, from when they are made until nothing holds them.

    To be entered inside of a `FakeTensorMode`, whose tensors have shapes and types and take no memory. Where a mask
    chooses, which only contents could tell, all is chosen: an upper bound.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        """`known` are counted elsewhere: the parameters."""
        super().__init__()
        self.live = self.peak = 0
        self._known = [tensor.untyped_storage() for tensor in known]  # held, so that no other gets their place
        self._seen = {storage._cdata for storage in self._known}

    def restart(self) -> None:
        """The highest point is from now on."""
        self.peak = self.live

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in CHOOSING:
            args = (args[0], _all_chosen(args[1]), *args[2:])
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


CHOOSING = {
    torch.ops.aten.index,
    torch.ops.aten.index_put,
    torch.ops.aten.index_put_,
    torch.ops.aten._index_put_impl_,
}


def _all_chosen(indices: Iterable[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Indices in which a mask of so many dimensions is as many lists of places, as the real operation makes them."""
    chosen: list[torch.Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            chosen.append(index)
        else:
            chosen += [index.new_empty(index.numel(), dtype=torch.int64) for _ in range(index.ndim)]
    return chosen
