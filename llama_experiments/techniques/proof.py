"""The proof of what moved: every tensor's hash before and after, against what the technique said would move."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.models.hashes import tensor_hashes

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from llama_experiments.techniques.base import ParameterGroup

NAMED = 3  # tensors told by name


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
        multipliers = [(names.get(id(p)), group.multiplier) for group in groups for p in group.parameters]
        may_move = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
        if sorted(str(name) for name, _ in multipliers) != may_move:
            raise UserError(
                f"technique: its parameter groups hold {len(multipliers)} tensors, but {len(may_move)} of the model "
                "may move; each of these must be in one group, and no other"
            )
        self._multipliers = {str(name): multiplier for name, multiplier in multipliers}
        self.before = tensor_hashes(model)

    def check(self, model: PreTrainedModel, learning_rate: float, steps: int) -> list[Tensor]:
        """Every tensor, now that `steps` steps were made at a rate of at most `learning_rate`.

        Raises:
            UserError: a frozen tensor moved, or one that may move did not although its rate would have moved it.
        """
        after = tensor_hashes(model)
        tensors = [
            Tensor(name, parameter.numel(), self._multipliers.get(name), self.before[name], after[name])
            for name, parameter in model.named_parameters()
        ]
        broken = [tensor.name for tensor in tensors if tensor.multiplier is None and tensor.moved]
        if broken:
            raise UserError(f"technique: {_told(broken)} moved, which the technique had frozen")
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
                f"technique: {_told(still)} did not move in {steps} steps, although it may: the loss does not depend "
                "on it; take it out of what trains"
            )
        return tensors


def record(tensors: Sequence[Tensor]) -> dict[str, Any]:
    """The contents of `movement.json`."""
    return {tensor.name: {**dataclasses.asdict(tensor), "moved": tensor.moved} for tensor in tensors}


def _would_show(values: torch.Tensor, rate: float) -> bool:
    """Whether a step of Adam's, which is about as large as the rate, is more than some value's rounding."""
    import torch

    return bool((values.detach().abs() * (torch.finfo(values.dtype).eps / 2) < rate).any())


def _told(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
