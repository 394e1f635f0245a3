"""The beginning that many prompts share is run once: its keys and values are what each of them goes on from.

Kept with the model, for as long as nothing is written to its weights. Rows that go on from it may branch: what
follows a row's own beginning in several ways is one row, in which a mask hides each branch from the others.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llama_experiments.tasks.trunk import hidden_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from llama_experiments.data.examples import Batch

KEPT = 16  # things of a model at most: the beginnings of few-shot prompts that leave room for unlike rows
UNLIKE = ("a", "Z")  # texts that begin with nothing in common
FEWEST = 4  # tokens of a beginning that is worth it

Made = TypeVar("Made")

_kept: weakref.WeakKeyDictionary[torch.nn.Module, tuple[Hashable, OrderedDict[Hashable, Any]]]
_kept = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Laid:
    """Tokens laid out in one row: a beginning, and what branches off it."""

    ids: list[int]
    positions: list[int]
    branch: list[int]  # for each token the number of its branch, from 1, or 0 where it is of the beginning

    @classmethod
    def of(cls, ids: Sequence[int]) -> Laid:
        """A beginning."""
        return cls(list(ids), list(range(len(ids))), [0] * len(ids))

    def grow(self, ids: Sequence[int], branch: int) -> int:
        """Add a branch; returns where it starts."""
        start, first = len(self.ids), self.branch.count(0)
        self.ids.extend(ids)
        self.positions.extend(range(first, first + len(ids)))
        self.branch.extend([branch] * len(ids))
        return start


def can_share(model: PreTrainedModel) -> bool:
    """Whether rows can branch and go on from a beginning that is kept: not while gradients are made of it."""
    import torch

    # Flash attention takes no mask of our own.
    return "flash" not in model.config._attn_implementation and not torch.is_grad_enabled()


def once(model: PreTrainedModel, key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` gives, or gave for the same key, the same weights and the same arithmetic."""
    import torch

    parameters = tuple((value.data_ptr(), value._version) for value in model.parameters())
    kind = model.get_input_embeddings().weight.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    state = (parameters, autocast, model.config._attn_implementation)
    found = _kept.get(model)
    if found is None or found[0] != state:
        found = _kept[model] = (state, OrderedDict())
    things = found[1]
    if key not in things:
        things[key] = make()
    things.move_to_end(key)
    while len(things) > KEPT:
        things.popitem(last=False)
    return cast(Made, things[key])


def common(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The tokens with which both begin."""
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return list(one[:same])


def grouped(
    rows: Sequence[Laid], asked: Sequence[int], shared: Sequence[tuple[int, ...]]
) -> dict[tuple[int, ...], list[int]]:
    """Rows by the longest of the beginnings `shared` that they have; (): by none.

    Args:
        asked: for each row the first index whose state is asked for: what is before it can be shared.
    """
    longest = sorted((one for one in shared if len(one) >= FEWEST), key=len, reverse=True)
    found: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        fitting = (one for one in longest if len(one) <= asked[number] and tuple(row.ids[: len(one)]) == one)
        found.setdefault(next(fitting, ()), []).append(number)
    return found


def states_after(model: PreTrainedModel, beginning: tuple[int, ...], rows: Sequence[Laid]) -> torch.Tensor:
    """The last hidden states of rows, [rows, length, hidden]; those that begin with `beginning` go on from it.

    Of the beginning itself there are none, they are zeros; at padding they mean nothing.
    """
    import torch

    size = len(beginning)
    assert all(tuple(row.ids[:size]) == beginning for row in rows)
    device = model.get_input_embeddings().weight.device
    width = max(len(row.ids) for row in rows) - size

    def column(name: str) -> torch.Tensor:
        values = [getattr(row, name)[size:] for row in rows]
        return torch.tensor([one + [0] * (width - len(one)) for one in values], device=device)  # [rows, width]

    given: dict[str, Any] = {"position_ids": column("positions")}
    shared = None
    if size:
        shared = once(model, ("beginning", beginning), lambda: _run(model, beginning))
        given["past_key_values"] = shared
    branch = column("branch")
    sees = torch.ones(width, width, dtype=torch.bool, device=device).tril()  # nothing sees what comes after it
    sees = sees & ((branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None]))  # [rows, width, width]
    sees = torch.cat([sees.new_ones(len(rows), width, size), sees], dim=2)[:, None]
    given["attention_mask"] = _added(sees) if model.config._attn_implementation == "eager" else sees
    found = model.base_model(input_ids=column("ids"), use_cache=shared is not None, **given).last_hidden_state
    return torch.cat([found.new_zeros(len(rows), size, found.shape[2]), found], dim=1)


def prompt_states(
    model: PreTrainedModel, batch: Batch, asked: Sequence[int], shared: Sequence[tuple[int, ...]]
) -> torch.Tensor:
    """`hidden_states` of a batch, [batch, length, hidden], in which rows go on from the beginnings they share.

    Args:
        asked: for each row the first index whose state is asked for; those before it may be zeros.
    """
    import torch

    ids, lengths = batch["input_ids"].tolist(), batch["lengths"].tolist()
    rows = [Laid.of(row[:length]) for row, length in zip(ids, lengths, strict=True)]
    groups = grouped(rows, asked, shared)
    if not any(groups):
        return hidden_states(model.base_model, batch)
    parts = {
        beginning: states_after(model, beginning, [rows[row] for row in members])
        for beginning, members in groups.items()
    }
    some = next(iter(parts.values()))
    whole = some.new_zeros(*batch["input_ids"].shape, some.shape[-1])
    for beginning, members in groups.items():
        found = parts[beginning]
        whole[torch.tensor(members, device=whole.device), : found.shape[1]] = found
    return whole


def _added(sees: torch.Tensor) -> torch.Tensor:
    """A mask that is added to the scores."""
    import torch

    return torch.zeros(sees.shape, device=sees.device).masked_fill(~sees, torch.finfo(torch.float32).min)


class _KeysAndValues:
    """Of a beginning, in each layer [1, heads, tokens, size]: a cache that does not grow.

    A layer's are joined to those of the rows as it needs them, so that no layer's copy outlives its pass.
    """

    def __init__(self, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._layers = layers

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Its tokens."""
        return self._layers[layer_idx][0].shape[2]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows' own after the beginning's."""
        import torch

        before = (one.expand(len(keys), -1, -1, -1) for one in self._layers[layer_idx])
        first, second = (torch.cat([one, own], dim=2) for one, own in zip(before, (keys, values), strict=True))
        return first, second


def _run(model: PreTrainedModel, beginning: tuple[int, ...]) -> _KeysAndValues:
    import torch
    from transformers import DynamicCache

    device = model.get_input_embeddings().weight.device
    cache = DynamicCache()
    model.base_model(input_ids=torch.tensor([beginning], device=device), past_key_values=cache, use_cache=True)
    return _KeysAndValues([(layer.keys, layer.values) for layer in cache.layers])
