"""A step and a pass of the evaluation, run on tensors without contents: how many bytes they hold at their peak."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from llama_experiments.experiment import Experiment
    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """Bytes, and parameters."""

    parameters: int
    trainable: int  # parameters
    weights: int
    gradients: int
    forward: int  # at the highest point before the backward pass, without gradients
    largest: int  # at the highest point of a step, with the gradients that there are by then
    evaluation: int  # of a pass of the evaluation
    trunk_learns: bool  # whether a weight of its layers does
    large: int  # trainable parameters in tensors whose optimizer state is kept in 8 bits, if any is


def simulate(
    experiment: Experiment,
    shape: Mapping[str, Any],
    task: Task,
    *,
    rows: int,
    passes: int,
    length: int,
    evaluation_rows: int,
    evaluation_length: int,
    precision: str,
    device: torch.device,
) -> Simulated:
    """Run the job's own model, task and technique: forward, backward, forward again, and an evaluation.

    Args:
        rows: of a pass.
        passes: of a step; from the second on the gradients are there from the beginning.
        length: tokens of the rows.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from llama_experiments.models.quantized import parameter_count
    from llama_experiments.planning.ledger import Ledger
    from llama_experiments.planning.skeleton import materialise, skeleton
    from llama_experiments.tasks.task_model import TaskModel

    bare = skeleton(experiment, shape, task, precision)
    with FakeTensorMode():
        model = materialise(bare, device)
        moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
        held = [*model.parameters(), *model.buffers()]
        task_model = TaskModel(model, task)
        packed = experiment.training.packs(model.config._attn_implementation)
        forward = largest = 0
        if moving:
            task_model.train()
            with Ledger(held) as ledger:
                for number in range(min(passes, 2)):
                    with _arithmetic(device, precision):
                        output = task_model(_batch(rows, length, device, packed))
                    forward = ledger.peak if number == 0 else forward
                    output.loss.backward()
                    del output
                largest = ledger.peak
            model.zero_grad()
        task_model.eval()
        with Ledger(held) as ledger, torch.inference_mode(), _arithmetic(device, precision):
            task_model(_batch(evaluation_rows, evaluation_length, device, packed))
            evaluation = ledger.peak
        return Simulated(
            parameters=parameter_count(model.parameters()),
            trainable=parameter_count(moving),
            weights=sum(storage_bytes(held)),
            gradients=sum(storage_bytes(moving)),
            forward=forward,
            largest=largest,
            evaluation=evaluation,
            trunk_learns=any(".layers." in name for name, weight in model.named_parameters() if weight.requires_grad),
            large=sum(parameter.numel() for parameter in moving if parameter.numel() >= 4096),
        )


def storage_bytes(tensors: list[torch.Tensor]) -> list[int]:
    """The bytes of each storage among the tensors, once."""
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}
    return [storage.nbytes() for storage in storages.values()]


@contextlib.contextmanager
def _arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with torch.autocast(device.type, dtype=dtype) if dtype is not None else contextlib.nullcontext():
        yield


def _batch(rows: int, length: int, device: torch.device, packed: bool) -> dict[str, torch.Tensor]:
    """What any task reads of a batch, all rows of the full length."""
    import torch

    one = torch.zeros(rows, dtype=torch.int64, device=device)
    of_tokens = torch.zeros(rows, length, dtype=torch.int64, device=device)
    names = ("lengths", "index", "label", "start", "end", "count")
    batch = dict.fromkeys(names, one) | dict.fromkeys(("input_ids", "may_start", "may_end"), of_tokens)
    return batch | ({"position_ids": of_tokens} if packed else {})
