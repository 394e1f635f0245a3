"""A learning rate for each run, chosen on a part of its training rows: those it reports on have no say in it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.errors import UserError, check_settings

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples
    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.base import Task
    from llama_experiments.techniques.base import ParameterGroup
    from llama_experiments.training.settings import Training

Start = Callable[[], "tuple[PreTrainedModel, list[ParameterGroup]]"]


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A learning rate that was tried."""

    learning_rate: float
    loss: float  # the lowest of its epochs on the rows held out; inf where training diverged
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """Before a run trains on all training rows, the rates to choose from train on all but a share of them."""

    multipliers: list[float] = dataclasses.field(default_factory=lambda: [0.3, 1.0, 3.0, 10.0])
    share: float = 0.2  # of the training rows, on which the rates are compared
    seed: int = 0  # of the choice of these rows, the same for all runs that are compared

    def __post_init__(self) -> None:
        positive = bool(self.multipliers) and all(0 < value < math.inf for value in self.multipliers)
        check_settings(
            ("multipliers", positive, "must be one or more positive numbers"),
            ("share", 0 < self.share < 1, f"must be between 0 and 1, not {self.share}"),
            ("seed", self.seed >= 0, f"must be at least 0, not {self.seed}"),
        )

    def read_back(self, file: Path, training: Training) -> tuple[Training, list[Attempt]] | None:
        """What `choose` has found before, in a run that is resumed; None where it had not come to its end."""
        if not file.exists():
            return None
        told = json.loads(file.read_text(encoding="utf-8"))
        for one in told:  # JSON has no infinity
            one["loss"] = math.inf if one["loss"] is None else one["loss"]
        attempts = [Attempt(**one) for one in told]
        return self.chosen(training, attempts), attempts

    def chosen(self, training: Training, attempts: list[Attempt]) -> Training:
        """The settings with the best of the rates that were tried.

        Raises:
            UserError: training diverged at every rate.
        """
        best = min(attempts, key=lambda attempt: attempt.loss)
        if not math.isfinite(best.loss):
            raise UserError("tuning.multipliers: training diverges at every rate; add lower ones")
        return dataclasses.replace(training, learning_rate=best.learning_rate)

    def choose(
        self,
        training: Training,
        rows: Rows,
        task: Task,
        tokenizer: PreTrainedTokenizerFast,
        start: Start,
        seed: int,
        accelerator: Accelerator,
        cache: Path,
        tell: Callable[[Attempt], None],
    ) -> tuple[Training, list[Attempt]]:
        """The settings with the rate whose lowest held-out loss is the lowest, and all that was tried.

        Args:
            rows: the training rows.
            start: gives the model as it is before training, and what of it moves.
            tell: called after each attempt.

        Raises:
            UserError: nothing can be held out, or training diverges at every rate.
        """
        import numpy as np

        from llama_experiments.data.rows import to_hold_out
        from llama_experiments.data.tokenized import encode

        try:
            out = to_hold_out(rows, task, self.share, self.seed)
        except UserError as error:
            raise UserError(f"tuning.share: {error}") from error
        halves = [
            dataclasses.replace(rows, table=rows.table.select(chosen), numbers=rows.numbers[chosen])
            for chosen in (np.flatnonzero(~out), np.flatnonzero(out))
        ]
        with accelerator.main_process_first():
            train, validation = (encode(half, task, tokenizer, cache) for half in halves)
        train = task.weighted(train)
        attempts = []
        for multiplier in sorted(self.multipliers):
            tried = dataclasses.replace(training, learning_rate=training.learning_rate * multiplier)
            started = time.perf_counter()
            loss = _lowest_loss(tried, train, validation, task, start, seed, accelerator, cache)
            accelerator.free_memory()  # or each attempt would hold its model until the last
            attempts.append(Attempt(tried.learning_rate, loss, time.perf_counter() - started))
            tell(attempts[-1])
        return self.chosen(training, attempts), attempts


def _lowest_loss(
    training: Training,
    train: Examples,
    validation: Examples,
    task: Task,
    start: Start,
    seed: int,
    accelerator: Accelerator,
    cache: Path,
) -> float:
    """The lowest of a training's losses on `validation` after its epochs; inf where it diverges."""
    from llama_experiments.tasks.task_model import TaskModel
    from llama_experiments.training.frozen_trunk import frozen_trunk
    from llama_experiments.training.loop import fit
    from llama_experiments.training.step import Diverged

    model, groups = start()
    task_model = TaskModel(model, task)
    epochs = fit(
        task_model,
        train,
        validation,
        training=dataclasses.replace(training, evaluate_first=False),
        groups=groups,
        seed=seed,
        accelerator=accelerator,
        on_step=lambda step: None,
        frozen=frozen_trunk(task_model, [train, validation], training, accelerator, cache),
    )
    try:
        return min(epoch.evaluation.loss for epoch in epochs if epoch.evaluation is not None)
    except Diverged:  # another rate may not
        return math.inf
