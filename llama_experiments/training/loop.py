"""The loop: a generator of epochs.

A step is a list of examples, chosen by (seed, epoch). How they are split into passes, devices and padding is no
part of the mathematics: a step's loss is one sum over one count, and its gradient is divided by that count once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator

from llama_experiments.data.examples import Examples, hash_of_indices
from llama_experiments.data.order import epoch_batches
from llama_experiments.errors import UserError
from llama_experiments.tasks.base import Output
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.techniques.base import ParameterGroup
from llama_experiments.training.evaluation import Evaluation, evaluate, to_device
from llama_experiments.training.optimization import make_optimizer, set_rates
from llama_experiments.training.settings import Training

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Diverged(UserError):
    """The loss is no longer a number."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One optimizer step."""

    epoch: int
    step: int  # from 1, over the whole run
    steps: int  # of the whole run
    loss: float  # a sum, in nats
    count: int  # items it is a sum over
    tokens: int  # real ones, no padding
    examples: int
    examples_hash: str
    learning_rate: float  # the highest of the groups
    gradient_norm: float  # before clipping
    seconds: float


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
) -> Iterator[Epoch]:
    """Train, an epoch at a time. Without parameter groups nothing moves, and epoch 0 is all there is.

    Args:
        groups: what moves, from the technique.
        on_step: called after every optimizer step.
        tokenizer: for what the task writes after an evaluation; None: nothing is written.

    Raises:
        Diverged: the loss is no longer a number.
    """
    optimizer: torch.optim.Optimizer | None = None
    if groups:
        task_model = task_model.to(accelerator.device)
        model, optimizer = accelerator.prepare(task_model, make_optimizer(groups, training, accelerator.device))
    else:
        model = accelerator.prepare_model(task_model, evaluation_mode=True)

    packed = training.packs(task_model.model.config._attn_implementation)

    def evaluated() -> Evaluation:
        size = training.evaluation_batch_size
        return evaluate(model, task_model.task, validation, size, accelerator, packed=packed, tokenizer=tokenizer)

    if training.evaluate_first or optimizer is None:
        started = time.perf_counter()
        yield Epoch(0, None, evaluated(), None, 0, 0, time.perf_counter() - started)
    if optimizer is None:
        return
    steps_an_epoch = training.steps_per_epoch(len(train))
    steps = steps_an_epoch * training.epochs
    stepper = _Stepper(model, optimizer, train, training, accelerator, steps, packed)
    for epoch in range(1, training.epochs + 1):
        started = time.perf_counter()
        model.train()
        done: list[Step] = []
        for position, indices in enumerate(epoch_batches(train.lengths, training.batch_size, seed, epoch)):
            number = (epoch - 1) * steps_an_epoch + position
            # Every random draw of a step (dropout) is a function of its place, not of what ran before.
            torch.manual_seed(_step_seed(seed, number, accelerator.process_index))
            done.append(stepper.step(indices, epoch, number))
            on_step(done[-1])
        due = epoch % training.evaluate_every == 0 or epoch == training.epochs
        evaluation = evaluated() if due else None
        if evaluation is not None:
            # The update of an epoch's last step shows nowhere else, and its weights are never the best.
            _check_number(evaluation.loss, f"the evaluation after epoch {epoch}", training)
        yield Epoch(
            epoch,
            math.fsum(step.loss for step in done) / sum(step.count for step in done),
            evaluation,
            done[-1].learning_rate,
            sum(step.examples for step in done),
            sum(step.tokens for step in done),
            time.perf_counter() - started,
        )


def _check_number(loss: float, where: str, training: Training) -> None:
    if not math.isfinite(loss):
        raise Diverged(
            f"training.learning_rate: the loss is {loss} in {where}: training diverged; lower "
            f"training.learning_rate (now {training.learning_rate:g})"
        )


def _step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0] >> 1)


class _Stepper:
    """One optimizer step over a list of examples, in as many passes and on as many devices as there are."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Examples,
        training: Training,
        accelerator: Accelerator,
        steps: int,
        packed: bool,
    ) -> None:
        self.model, self.optimizer, self.train = model, optimizer, train
        self.training, self.accelerator, self.steps = training, accelerator, steps
        self.packed = packed
        self.micro_batch = training.device_micro_batch(accelerator.num_processes)

    def step(self, indices: np.ndarray, epoch: int, number: int) -> Step:
        """Forward, backward, clip, update."""
        started = time.perf_counter()
        rate = set_rates(self.optimizer, self.training.rate_factor(number, self.steps))
        count = int(self.train.counts[indices].sum())
        loss = self._gradients(indices, float(self.train.weights[indices].sum()))
        _check_number(loss, f"step {number + 1}", self.training)
        limit = self.training.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return Step(
            epoch=epoch,
            step=number + 1,
            steps=self.steps,
            loss=loss,
            count=count,
            tokens=int(self.train.lengths[indices].sum()),
            examples=len(indices),
            examples_hash=hash_of_indices(indices),
            learning_rate=rate,
            gradient_norm=float(norm),
            seconds=time.perf_counter() - started,
        )

    def _gradients(self, indices: np.ndarray, weight: float) -> float:
        """Add up the gradient of the step's objective, its sum divided by all its examples' weight.

        Returns the sum of the loss.
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = indices[rank::processes]
        # Every process makes as many passes as the busiest, or the others would wait for it forever.
        passes = math.ceil(math.ceil(len(indices) / processes) / self.micro_batch)
        total = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        for position in range(passes):
            rows = mine[position * self.micro_batch : (position + 1) * self.micro_batch]
            idle = len(rows) == 0
            batch = self.train.batch(indices[:1] if idle else rows, self.packed)
            last = position == passes - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                output: Output = self.model(to_device(batch, self.accelerator.device))
                objective = output.loss if output.objective is None else output.objective
                # Processes' gradients are averaged, not summed: hence the factor.
                self.accelerator.backward(objective * (0.0 if idle else processes / weight))
            if not idle:
                total += output.loss.detach().double()
        if processes > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        return float(total)
