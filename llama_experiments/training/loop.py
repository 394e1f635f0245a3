"""The loop: a generator of epochs.

A step is a list of examples, chosen by (seed, epoch). How they are split into passes, devices and padding is no
part of the mathematics: a step's loss is one sum over one count, and its gradient is divided by that count once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator

from llama_experiments.data.examples import Examples
from llama_experiments.data.order import epoch_batches
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.techniques.base import ParameterGroup
from llama_experiments.training.checkpoint import Place, Sums
from llama_experiments.training.checkpoints import Checkpoints
from llama_experiments.training.evaluation import Evaluation, evaluate
from llama_experiments.training.settings import Training
from llama_experiments.training.sharding import prepare
from llama_experiments.training.step import Step, Stepper, check_number
from llama_experiments.training.stopping import Stopped, Stopping

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.training.frozen_trunk import FrozenTrunk


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One pass over the training examples and the evaluation after it; epoch 0 is an evaluation alone."""

    epoch: int
    train_loss: float | None  # nats an item over the epoch, while the weights move
    evaluation: Evaluation | None  # None where evaluate_every skips it
    learning_rate: float | None  # at its last step
    examples: int  # trained on
    tokens: int  # trained on
    seconds: float  # training and evaluation


def fit(
    task_model: TaskModel,
    train: Examples,
    validation: Examples,
    *,
    training: Training,
    groups: list[ParameterGroup],
    seed: int,
    accelerator: Accelerator,
    on_step: Callable[[Step], None],
    tokenizer: PreTrainedTokenizerFast | None = None,
    checkpoints: Checkpoints | None = None,
    stopping: Stopping | None = None,
    frozen: FrozenTrunk | None = None,
) -> Iterator[Epoch]:
    """Train, an epoch at a time. Without parameter groups nothing moves, and epoch 0 is all there is.

    Args:
        groups: what moves, from the technique.
        on_step: called after every optimizer step.
        tokenizer: for what the task writes after an evaluation; None: nothing is written.
        checkpoints: where to go on from, and where to; None: from the start, and none is taken.
        stopping: is asked after each step whether to go on.
        frozen: what of the trunk is run once for all epochs; None: each pass runs all of it.

    Raises:
        Diverged: the loss is no longer a number.
        Stopped: a signal asked for it; a checkpoint has been taken.
        OutOfMemory: a step does not fit the device.
    """
    stopping = stopping or Stopping()
    stopping.shared = accelerator.num_processes > 1
    optimizer: torch.optim.Optimizer | None = None
    if groups:
        model, optimizer = prepare(task_model, groups, training, accelerator)
    else:
        model = accelerator.prepare_model(task_model, evaluation_mode=True)
    packed = training.packs(task_model.model.config._attn_implementation)

    started = time.perf_counter()
    if frozen is not None:
        train, validation = (frozen.over(examples, stopping) for examples in (train, validation))
    before = time.perf_counter() - started  # in the time of the first epoch that is told

    def evaluated() -> Evaluation:
        return evaluate(
            model,
            task_model.task,
            validation,
            training.evaluation_batch_size,
            accelerator,
            packed=packed,
            tokenizer=tokenizer,
            stopping=stopping,
            splits=training.out_of_memory == "split",
        )

    place = checkpoints.start.place if checkpoints is not None and checkpoints.start is not None else Place()
    if place.steps == 0 and place.recorded < 0 and (training.evaluate_first or optimizer is None):
        started = time.perf_counter()
        yield Epoch(0, None, evaluated(), None, 0, 0, before + time.perf_counter() - started)
        before, place = 0.0, dataclasses.replace(place, recorded=0)
    if optimizer is None:
        return
    if checkpoints is not None:
        checkpoints.restore(task_model, optimizer)
    steps_an_epoch = training.steps_per_epoch(len(train))
    steps = steps_an_epoch * training.epochs
    stepper = Stepper(model, optimizer, train, training, accelerator, steps, packed, stopping, place)
    try:
        for epoch in range(max(place.recorded, 0) + 1, training.epochs + 1):
            model.train()
            batches = epoch_batches(train.lengths, training.batch_size, seed, epoch)
            for position, indices in enumerate(batches):
                number = (epoch - 1) * steps_an_epoch + position
                if number < place.steps:  # made before the run was resumed
                    continue
                # Every random draw of a step (dropout) is a function of its place, not of what ran before.
                step = stepper.step(indices, epoch, number, _step_seed(seed, number, accelerator.process_index))
                place = stepper.place_after(place, step)
                on_step(step)
                if checkpoints is not None and checkpoints.due(place.steps):
                    checkpoints.save(place, task_model, optimizer)
                stopping.check()
            started = time.perf_counter()
            due = epoch % training.evaluate_every == 0 or epoch == training.epochs
            evaluation = evaluated() if due else None
            if evaluation is not None:
                # The update of an epoch's last step shows nowhere else, and its weights are never the best.
                check_number(evaluation.loss, f"the evaluation after epoch {epoch}", training)
            sums = place.sums
            yield Epoch(
                epoch,
                sums.loss / sums.count if sums.count else None,
                evaluation,
                sums.learning_rate,
                sums.examples,
                sums.tokens,
                before + sums.seconds + time.perf_counter() - started,
            )
            before, place = 0.0, dataclasses.replace(place, recorded=epoch, sums=Sums())
            if checkpoints is not None and checkpoints.due(place.steps):
                checkpoints.save(place, task_model, optimizer)
    except Stopped as stopped:
        if checkpoints is not None and stopped.in_order:
            checkpoints.save(place, task_model, optimizer)
        raise


def _step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0] >> 1)
