"""How long a job will take: some of its own steps are made, with random weights, and timed."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from accelerate import Accelerator

    from llama_experiments.experiment import Experiment
    from llama_experiments.planning.work import Work
    from llama_experiments.tasks.task_model import TaskModel
    from llama_experiments.techniques.base import ParameterGroup
    from llama_experiments.training.loop import Step

WARM_UP, FEWEST, MOST, ENOUGH = 2, 4, 40, 10.0  # steps that are not timed; steps that are, and seconds of them
PASSES = 4  # of the evaluation
RATE = 1e-7  # random weights need not learn


class _Enough(Exception):
    """Ends the calibration."""


def estimate_seconds(experiment: Experiment, shape: Mapping[str, Any], work: Work) -> float:
    """Seconds of all epochs and evaluations, without what comes before and after them.

    A step's time is taken to be in proportion to the tokens that it computes, padding included.
    """
    import torch

    from llama_experiments.planning.skeleton import skeleton
    from llama_experiments.tasks.task_model import TaskModel
    from llama_experiments.training.device import arithmetic, make_accelerator

    training = experiment.training
    accelerator = make_accelerator(training, shape.get("hidden_size"))
    torch.manual_seed(0)
    model = skeleton(experiment, shape, work.task, arithmetic(accelerator), accelerator.device.type)
    groups = experiment.technique.parameter_groups(model)
    task_model = TaskModel(model, work.task).to(accelerator.device)
    evaluation = _evaluation_seconds(task_model, experiment, work, "validation", accelerator)
    seconds = evaluation if training.evaluate_first or not groups else 0.0
    if "test" in work.examples:
        seconds += _evaluation_seconds(task_model, experiment, work, "test", accelerator)
    if not groups:
        return seconds
    evaluations = math.ceil(training.epochs / training.evaluate_every)
    return seconds + evaluations * evaluation + _training_seconds(task_model, experiment, work, groups, accelerator)


def _training_seconds(
    task_model: TaskModel,
    experiment: Experiment,
    work: Work,
    groups: list[ParameterGroup],
    accelerator: Accelerator,
) -> float:
    from llama_experiments.data.order import epoch_batches
    from llama_experiments.training.loop import fit

    training, train, seed = experiment.training, work.examples["train"], experiment.seed
    made: list[Step] = []

    def on_step(step: Step) -> None:
        made.append(step)
        timed = made[WARM_UP:]
        if len(timed) == MOST or (len(timed) >= FEWEST and sum(step.seconds for step in timed) > ENOUGH):
            raise _Enough

    epochs = math.ceil((WARM_UP + MOST) / training.steps_per_epoch(len(train))) + 1
    settings = dataclasses.replace(
        training, epochs=epochs, evaluate_first=False, evaluate_every=epochs + 1, learning_rate=RATE
    )
    with contextlib.suppress(_Enough):
        for _ in fit(
            task_model,
            train,
            work.examples["validation"],
            training=settings,
            groups=groups,
            seed=seed,
            accelerator=accelerator,
            on_step=on_step,
        ):
            pass
    order = [
        _padded(train.lengths, batch, training.device_micro_batch(accelerator.num_processes))
        for epoch in range(1, max(epochs, training.epochs) + 1)
        for batch in epoch_batches(train.lengths, training.batch_size, seed, epoch)
    ]
    timed = sum(order[WARM_UP : len(made)])
    whole = sum(order[: training.epochs * training.steps_per_epoch(len(train))])
    return sum(step.seconds for step in made[WARM_UP:]) * whole / timed


def _evaluation_seconds(
    task_model: TaskModel, experiment: Experiment, work: Work, part: str, accelerator: Accelerator
) -> float:
    """Of one evaluation: some passes of long and short rows, and what is written after it."""
    import torch

    from llama_experiments.models.threads import matching_threads
    from llama_experiments.tasks.language_modelling import spread
    from llama_experiments.training.evaluation import passes, to_device

    examples, training = work.examples[part], experiment.training
    packed = training.packs(task_model.model.config._attn_implementation)
    batches = passes(task_model, examples, training.evaluation_batch_size, accelerator)
    chosen = [batches[at] for at in spread(len(batches), PASSES)]
    sizes = [_padded(examples.lengths, batch, len(batch)) for batch in chosen]
    whole = sum(_padded(examples.lengths, batch, len(batch)) for batch in batches)
    task_model.eval()
    with torch.inference_mode(), accelerator.autocast():
        for batch in [chosen[-1], *chosen]:  # the first is the warm-up
            if batch is chosen[0]:
                started = time.perf_counter()
            with matching_threads(task_model.model, int(examples.lengths[batch].sum())):
                given = to_device(examples.batch(batch, packed), accelerator.device)
                for value in task_model(given).predictions.values():
                    value.cpu()  # waits for the device
        seconds = (time.perf_counter() - started) * whole / sum(sizes)
        return seconds + _writing_seconds(task_model, work, part)


def _writing_seconds(task_model: TaskModel, work: Work, part: str) -> float:
    """Of what the task writes after an evaluation; where that is an answer a row, a few stand for all."""
    examples, task, scale = work.examples[part], work.task, 1.0
    if hasattr(task, "generated_examples"):
        wanted = task.generated_examples
        rows = len(examples) if wanted is None else min(wanted, len(examples))
        if rows == 0:
            return 0.0
        task = dataclasses.replace(task, generated_examples=min(PASSES, rows))  # type: ignore[call-arg]
        scale = rows / min(PASSES, rows)
    started = time.perf_counter()
    task.write(task_model.model, work.tokenizer, examples)
    return (time.perf_counter() - started) * scale


def _padded(lengths: np.ndarray, batch: Sequence[int] | np.ndarray, rows: int) -> int:
    """The tokens of a batch in passes of so many rows, with the padding of each."""
    return sum(
        len(part) * int(lengths[part].max())
        for part in (batch[start : start + rows] for start in range(0, len(batch), rows))
    )
