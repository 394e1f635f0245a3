"""What a job needs of memory: weights, gradients, the optimizer's state, activations; and its evaluation."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_experiments.experiment import Experiment
    from llama_experiments.planning.work import Lengths
    from llama_experiments.tasks.base import Task

ADAM_BYTES = 8  # two averages in fp32
ADAM_8BIT_BYTES = 2 + 2 * 4 / 256  # each in a byte, and a scale for each 256
LIBRARIES = {"cpu": 650_000_000, "cuda": 500_000_000}  # the interpreter with torch; a GPU's context
# What a process on a CPU grows by beside its tensors, from benchmarks/planning.py: imports on demand, rows, a split
# heap; and oneDNN's bf16 kernels, of which it keeps one for each layer and length, forward and backward.
BESIDE, KERNELS = 25_000_000, 120_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one job on one device."""

    parameters: int
    trainable: int  # parameters
    weights: int
    gradients: int
    optimizer: int
    activations: int  # of a training pass, the logits included
    evaluation: int  # of a pass of the evaluation
    libraries: int  # the interpreter and what it has imported
    beside: int
    scatters: bool = False  # a CPU's allocator: what the evaluation leaves has no room for training's tensors
    processes: int = 1  # on the same memory

    @property
    def growth(self) -> int:
        """Over what is held when training begins, at the highest point: what a run records."""
        training = self.gradients + self.activations
        return (
            self.optimizer
            + (training + self.evaluation if self.scatters else max(training, self.evaluation))
            + self.beside
        )

    @property
    def peak(self) -> int:
        """All that is held at the highest point."""
        return self.processes * (self.libraries + self.weights + self.growth)


def estimate_memory(
    experiment: Experiment, shape: Mapping[str, Any], task: Task, lengths: Lengths, kind: str
) -> Memory:
    """The memory of a job whose longest rows are known.

    Args:
        shape: the model's config.json.
        task: bound, as far as that can be.
        kind: of the device, cpu or cuda.
    """
    key = (experiment.technique, shape, task, lengths, kind, _settings(experiment))
    told = json.dumps([repr(part) for part in key])
    if told not in _KNOWN:
        _KNOWN[told] = _estimate(experiment, shape, task, lengths, kind)
    return _KNOWN[told]


_KNOWN: dict[str, Memory] = {}  # the jobs of a sweep differ in settings that take no memory, most often


def _settings(experiment: Experiment) -> tuple[Any, ...]:
    training, model = experiment.training, experiment.model
    return (
        *(training.batch_size, training.micro_batch_size, training.evaluation_batch_size, training.optimizer),
        *(
            training.precision,
            training.layout,
            training.gradient_checkpointing,
            training.processes,
            training.sharding,
        ),
        *(model.attention, model.dtype),
    )


def _estimate(experiment: Experiment, shape: Mapping[str, Any], task: Task, lengths: Lengths, kind: str) -> Memory:
    import torch

    from llama_experiments.data.order import within
    from llama_experiments.planning.simulation import simulate
    from llama_experiments.training.device import chosen_precision, pass_tokens

    training = experiment.training
    processes = max(training.processes or 1, int(os.environ.get("WORLD_SIZE", "1")))
    rows = training.device_micro_batch(processes)
    share = math.ceil(training.batch_size / processes)
    precision = chosen_precision(training, shape.get("hidden_size"))
    found = simulate(
        experiment,
        shape,
        task,
        rows=min(rows, lengths.train_rows),
        passes=math.ceil(share / rows),
        length=lengths.train,
        evaluation_rows=min(
            within(training.evaluation_batch_size, lengths.evaluation, pass_tokens(kind, shape["hidden_size"])),
            lengths.evaluation_rows,
        ),
        evaluation_length=lengths.evaluation,
        precision=precision,
        device=torch.device(kind),
    )
    shares = processes if training.sharding == "fsdp" else 1
    optimizer = found.trainable * ADAM_BYTES
    if training.optimizer == "adamw_8bit":
        optimizer = round(found.large * ADAM_8BIT_BYTES + (found.trainable - found.large) * ADAM_BYTES)
    # On a CPU a gradient does not get the place of the activations that it is made of.
    activations = found.forward if kind == "cpu" else found.largest - found.gradients
    beside = BESIDE + (KERNELS if precision == "bf16" and found.trunk_learns else 0)
    return Memory(
        parameters=found.parameters,
        trainable=found.trainable,
        weights=found.weights if kind == "cpu" else found.weights // shares,  # each process has loaded all of them
        gradients=found.gradients // shares,
        optimizer=optimizer // shares,
        activations=max(0, activations),
        evaluation=found.evaluation,
        libraries=LIBRARIES[kind],
        beside=beside if kind == "cpu" else 0,
        scatters=kind == "cpu",
        processes=processes if kind == "cpu" else 1,
    )
