"""The evaluation: sums over all examples, so that no batch size can change them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate import Accelerator

from llama_experiments.data.examples import Batch, Examples
from llama_experiments.data.order import evaluation_batches
from llama_experiments.models.shards import is_sharded, reshard
from llama_experiments.models.threads import matching_threads
from llama_experiments.tasks.base import Output, Sample, Task, Written
from llama_experiments.training.device import pass_tokens
from llama_experiments.training.memory import OutOfMemory, is_out_of_memory
from llama_experiments.training.stopping import Stopping

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.tasks.task_model import TaskModel


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found over a whole part."""

    loss: float  # nats an item: the mean over all items
    count: int  # items
    metrics: dict[str, float]
    predictions: dict[str, np.ndarray]  # each [examples, ...], in the examples' order
    samples: list[Sample] = dataclasses.field(default_factory=list)  # what the model wrote


def evaluate(
    model: torch.nn.Module,
    task: Task,
    examples: Examples,
    batch_size: int,
    accelerator: Accelerator,
    *,
    packed: bool = False,
    tokenizer: PreTrainedTokenizerFast | None = None,
    stopping: Stopping | None = None,
    splits: bool = False,
) -> Evaluation:
    """Loss, metrics and predictions of `examples`; several processes share the batches.

    Losses are added up in fp64 in the examples' order, whatever the batches were. What the task writes is written by
    one process; without a tokenizer nothing is.

    Args:
        splits: whether a batch that does not fit the device is halved.

    Raises:
        Stopped: `stopping` says so, between two batches.
        OutOfMemory: a batch does not fit the device.
    """
    # Without the wrapper of several processes, which waits in a pass for those that have no batch.
    model = accelerator.unwrap_model(model)
    was_training = model.training
    model.eval()
    predictions = predict(model, examples, batch_size, accelerator, packed=packed, stopping=stopping, splits=splits)
    with _without_gradients(model):
        written = _written(model, task, examples, accelerator, tokenizer)
    reshard(model)
    model.train(was_training)
    predictions |= written.predictions
    items = int(examples.counts.sum())
    loss = float(predictions["loss"].sum(dtype=np.float64) / items)
    return Evaluation(loss, items, task.score(predictions, examples), predictions, written.samples)


def predict(
    model: torch.nn.Module,
    examples: Examples,
    batch_size: int,
    accelerator: Accelerator,
    *,
    packed: bool = False,
    stopping: Stopping | None = None,
    splits: bool = False,
) -> dict[str, np.ndarray]:
    """What the passes of a model in evaluation mode say of each example, each [examples, ...] in their order.

    Raises:
        Stopped: `stopping` says so, between two batches.
        OutOfMemory: a batch does not fit the device.
    """
    parts: list[dict[str, np.ndarray]] = []
    batches = passes(cast("TaskModel", model), examples, batch_size, accelerator)
    mine = [(indices, True) for indices in batches[accelerator.process_index :: accelerator.num_processes]]
    # Where each has a share of the weights every process makes as many passes, or the others would wait for it.
    idle = math.ceil(len(batches) / accelerator.num_processes) - len(mine) if is_sharded(model) else 0
    waiting = [*[(batches[0][:1], False)] * idle, *reversed(mine)]
    with _without_gradients(model):
        while waiting:
            indices, counts = waiting.pop()
            if stopping is not None:
                stopping.check()
            try:
                with fitting(len(indices)), matching_threads(model.model, int(examples.lengths[indices].sum())):
                    output: Output = model(to_device(examples.batch(indices, packed), accelerator.device))
            except OutOfMemory:
                if not splits or len(indices) == 1 or is_sharded(model):
                    raise
                half = len(indices) // 2
                waiting += [(indices[half:], counts), (indices[:half], counts)]
                continue
            if counts:
                found = {name: _numpy(value) for name, value in output.predictions.items()}
                parts.append({"index": indices, **found})
    predictions = _in_order(_gathered(parts, accelerator))
    return predictions | {"row": examples.fixed["row"], "count": examples.counts}


def passes(task_model: TaskModel, examples: Examples, batch_size: int, accelerator: Accelerator) -> list[np.ndarray]:
    """The examples of each pass without gradients, the longest first; how they are split changes no number."""
    most = pass_tokens(accelerator.device.type, task_model.model.config.hidden_size)
    return evaluation_batches(examples.lengths, batch_size, most)


@contextlib.contextmanager
def fitting(batch_size: int) -> Iterator[None]:
    """Tells what would help where a pass of so many examples does not fit the device, as OutOfMemory."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"training.evaluation_batch_size: the memory is full with {batch_size} examples a pass; set "
            f"training.evaluation_batch_size={max(1, batch_size // 2)}, which changes no number"
        ) from error


def to_device(batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    """A batch on the device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _without_gradients(model: torch.nn.Module) -> contextlib.AbstractContextManager[None]:
    """What FSDP gathers in inference mode could not be trained with afterwards."""
    return torch.no_grad() if is_sharded(model) else torch.inference_mode()


def _written(
    model: torch.nn.Module,
    task: Task,
    examples: Examples,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerFast | None,
) -> Written:
    """What the first process writes, for all of them."""
    if tokenizer is None:
        return Written()
    if is_sharded(model):
        # A pass needs all processes: each writes the same. What is in no layer is gathered once for all passes.
        cast("FSDPModule", model).unshard()
        with accelerator.autocast():
            return task.write(cast("PreTrainedModel", model.model), tokenizer, examples)
    written = Written()
    if accelerator.is_main_process:
        with accelerator.autocast():
            written = task.write(cast("PreTrainedModel", model.model), tokenizer, examples)
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        (written,) = broadcast_object_list([written])
    return written


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """NumPy knows no bfloat16."""
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).cpu().numpy()


def _gathered(parts: list[dict[str, Any]], accelerator: Accelerator) -> list[dict[str, Any]]:
    if accelerator.num_processes == 1:
        return parts
    from accelerate.utils import gather_object

    return list(gather_object(parts))


def _in_order(parts: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    order = np.argsort(np.concatenate([part["index"] for part in parts]))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0] if name != "index"}
