"""Tensors of which each process holds a share (FSDP2's), seen whole. Whatever gathers is called by all processes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor
    from transformers import PreTrainedModel


def is_share(tensor: torch.Tensor) -> bool:
    """Whether this process has a share of the tensor. Not by its class, whose import takes most of a second."""
    return hasattr(tensor, "full_tensor")


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether each process holds a share of the model's weights."""
    return hasattr(model, "reshard") or any(is_share(parameter) for parameter in model.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, gathered from the processes where each has a share; without its history."""
    plain = tensor.detach()
    return cast("DTensor", plain).full_tensor() if is_share(plain) else plain


def shared_out(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's share of a tensor that every process has whole, if it has but a share of `like`."""
    if not is_share(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # Each cuts its own share out: nothing is sent.
    on_device = tensor.to(like.device)
    mesh = cast("DTensor", like).device_mesh
    return distribute_tensor(on_device, mesh, cast("DTensor", like).placements, src_data_rank=None)


def put(tensor: torch.Tensor, into: torch.Tensor) -> None:
    """Overwrite `into`, shared or not, with what is whole in every process."""
    with torch.no_grad():
        into.copy_(shared_out(tensor, into))


def reshard(model: torch.nn.Module) -> None:
    """Let go of what the last pass has gathered: the weights are shares again, and those that the optimizer has."""
    for module in model.modules():
        if hasattr(module, "reshard"):
            cast("FSDPModule", module).reshard()


class Whole:
    """A model as those see it who know nothing of shares: what saves it, or puts weights back.

    Made before the weights are shared out; where they never are, it is the model itself.
    """

    def __init__(self, model: PreTrainedModel, *, sharded: bool) -> None:
        self._model, self._shell = model, None
        if sharded:
            empty = {id(one): _empty(one) for one in model.parameters()}
            self._shell = copy.deepcopy(model, dict(empty))

    def gathered(self, *, keep: bool) -> PreTrainedModel:
        """The model with all its weights, on the CPU; without them where not to `keep`, for the others' sake."""
        if self._shell is None:
            return self._model
        reshard(self._model)
        filled = copy.deepcopy(self._shell)
        of: dict[int, torch.nn.Parameter] = {}
        for name, shard in self._model.named_parameters(remove_duplicate=False):  # what is tied stays tied
            if id(shard) not in of:
                values = whole(shard)
                of[id(shard)] = torch.nn.Parameter(values.cpu(), shard.requires_grad) if keep else _empty(shard)
            module, _, leaf = name.rpartition(".")
            setattr(filled.get_submodule(module), leaf, of[id(shard)])
        return filled

    def put_back(self, filled: PreTrainedModel) -> None:
        """The weights of what `gathered` gave, changed since then, into the model."""
        if self._shell is None:
            return
        reshard(self._model)
        values = dict(filled.named_parameters())
        for name, shard in self._model.named_parameters():
            put(values[name].detach(), shard)


def _empty(parameter: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(
        torch.empty(parameter.shape, dtype=parameter.dtype, device="meta"), parameter.requires_grad
    )
