"""What processes have of the weights: each all of them (DDP), or each a share (FSDP2); both through Accelerate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from llama_experiments.errors import UserError
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.training.optimization import make_optimizer

if TYPE_CHECKING:
    from llama_experiments.techniques.base import ParameterGroup
    from llama_experiments.training.settings import Training

LAYER = "LlamaDecoderLayer"  # gathered for its own pass, and let go of after it


def make_plugin() -> FullyShardedDataParallelPlugin:
    """FSDP2 by layers. Weights are gathered as they are stored: autocast makes the arithmetic, as in one process."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=[LAYER],
        cpu_ram_efficient_loading=False,
        mixed_precision_policy=MixedPrecisionPolicy(),
    )


def insist(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin) -> None:
    """Have FSDP2 where it was asked for. On CPUs Accelerate puts DDP in its place, and says nothing.

    Raises:
        UserError: it is not to be had.
    """
    # Accelerate says so to libraries by the environment, where the next job would find it.
    os.environ.pop("ACCELERATE_USE_FSDP", None)
    if accelerator.device.type == "cpu" and accelerator.num_processes > 1:
        tell_type(DistributedType.FSDP)
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
    if accelerator.num_processes == 1 or not accelerator.is_fsdp2:
        raise UserError(
            "training.sharding: fsdp was asked for, and Accelerate does not give it here "
            f"({accelerator.num_processes} processes of kind {accelerator.distributed_type.value}); set "
            "training.sharding=none, or training.processes to 2 or more"
        )


def tell_type(kind: DistributedType) -> None:
    """Correct what Accelerate thinks of the processes on CPUs."""
    PartialState._shared_state["distributed_type"] = kind


def prepare(
    task_model: TaskModel, groups: list[ParameterGroup], training: Training, accelerator: Accelerator
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """The model as it is trained, and its optimizer. The groups' parameters become those that are trained."""
    if not accelerator.is_fsdp2:
        task_model = task_model.to(accelerator.device)
        return accelerator.prepare(task_model, make_optimizer(groups, training, accelerator.device))  # type: ignore[no-any-return]
    names = {id(parameter): name for name, parameter in task_model.named_parameters()}
    of_groups = [[names[id(parameter)] for parameter in group.parameters] for group in groups]
    model, optimizer = accelerator.prepare(task_model, make_optimizer(groups, training, accelerator.device))
    shards = dict(model.named_parameters())
    for group, named in zip(groups, of_groups, strict=True):
        group.parameters[:] = [shards[name] for name in named]  # or the whole ones would be held to the end
    if accelerator.native_amp:
        model.forward = accelerator.autocast()(model.forward)  # which Accelerate does for all but FSDP2
    return model, optimizer
