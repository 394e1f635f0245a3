"""The proof of what moved: every tensor's hash before and after, against what the technique said would move."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.models.hashes import tensor_hashes
from llama_experiments.models.quantized import parameter_count
from llama_experiments.models.shards import reshard, whole

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from llama_experiments.techniques.base import ParameterGroup

NAMED = 3  # tensors told by name
SURE = 8.0  # a step that is so many times as large as the rounding would have shown


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One of the model's tensors, before training and after it."""

    name: str
    parameters: int
    multiplier: float | None  # of training.learning_rate; None where it is frozen
    before: str  # hashes
    after: str

    @property
    def moved(self) -> bool:
        """Whether a bit of it changed."""
        return self.before != self.after


class Proof:
    """Takes the hashes before training; `check` takes them again and compares."""

    def __init__(self, model: PreTrainedModel, groups: Sequence[ParameterGroup]) -> None:
        """Raises UserError where the groups are not exactly what may move."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        grouped = [
            (names.get(id(parameter), "a tensor that is not the model's"), group.multiplier)
            for group in groups
            for parameter in group.parameters
        ]
        may_move = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        _check_groups([name for name, _ in grouped], may_move)
        self._multipliers = dict(grouped)
        self.before = tensor_hashes(model)

    def check(self, model: PreTrainedModel, learning_rate: float, steps: int) -> list[Tensor]:
        """Every tensor, now that `steps` steps were made at a rate of at most `learning_rate`.

        Raises:
            UserError: a frozen tensor moved, or one that may move did not although its rate would have moved it.
        """
        reshard(model)
        after = tensor_hashes(model)
        tensors = [
            Tensor(name, parameter_count([parameter]), self._multipliers.get(name), self.before[name], after[name])
            for name, parameter in model.named_parameters()
        ]
        broken = [tensor.name for tensor in tensors if tensor.multiplier is None and tensor.moved]
        if broken:
            raise UserError(f"technique: {told_names(broken)} moved, which the technique had frozen")
        values = dict(model.named_parameters())
        still = [
            tensor.name
            for tensor in tensors
            if tensor.multiplier is not None
            and not tensor.moved
            and steps > 1  # in the first step half of a new adapter has no gradient
            and _would_show(values[tensor.name], learning_rate * tensor.multiplier)
        ]
        if still:
            raise UserError(
                f"technique: {told_names(still)} did not move in {steps} steps, although it may: the loss does not "
                "depend on it; take it out of what trains"
            )
        return tensors


def record(tensors: Sequence[Tensor]) -> dict[str, Any]:
    """The contents of `movement.json`."""
    return {tensor.name: {**dataclasses.asdict(tensor), "moved": tensor.moved} for tensor in tensors}


def _check_groups(grouped: Sequence[str], may_move: Set[str]) -> None:
    """Raises UserError where the groups' tensors are not exactly those that may move, each once."""
    found = Counter(grouped)
    wrong = {
        "in no group": sorted(may_move - found.keys()),
        "in a group, but may not move": sorted(found.keys() - may_move),
        "in a group twice": sorted(name for name, times in found.items() if times > 1),
    }
    told = "; ".join(f"{told_names(names)} ({how})" for how, names in wrong.items() if names)
    if told:
        raise UserError(
            f"technique: its parameter groups must hold each tensor that may move, once, and no other: {told}"
        )


def _would_show(values: torch.Tensor, rate: float) -> bool:
    """Whether a step of Adam's, which is about as large as the rate, is surely more than some value's rounding."""
    import torch

    return bool((whole(values).abs() * (SURE * torch.finfo(values.dtype).eps / 2) < rate).any())


def told_names(names: Sequence[str]) -> str:
    """The first of these names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
