"""What a run does about a gradient that is no number, a memory that is short, and a loss that falls no more."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.history import History
from llama_experiments.runs.journal import Journal, epoch_record
from llama_experiments.tasks.base import Output
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.techniques.base import Technique
from llama_experiments.training.checkpoints import Checkpointing, Checkpoints
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.evaluation import Evaluation
from llama_experiments.training.loop import Epoch, fit
from llama_experiments.training.memory import OutOfMemory
from llama_experiments.training.settings import Training
from llama_experiments.training.step import Diverged, Step
from llama_experiments.training.stopping import Stopped, Stopping
from tests.training.conftest import Case

SHORT = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ..."


class Troubled(TaskModel):
    """A model that meets something in its passes; those of the training are counted from 0."""

    def __init__(self, case: Case, *, no_number: Collection[int] = (), at_most: int = 10**9) -> None:
        """`no_number`: passes without a gradient; `at_most`: rows that the memory has room for."""
        super().__init__(case.model(), case.task)
        self.no_number, self.at_most, self.passes = no_number, at_most, 0

    def forward(self, batch: dict[str, torch.Tensor]) -> Output:
        if len(batch["lengths"]) > self.at_most:
            raise RuntimeError(SHORT)
        output = super().forward(batch)
        if self.training:
            if self.passes in self.no_number:
                # The loss is a number, its gradient is none.
                zero = next(self.model.parameters()).flatten()[0] * 0.0
                output = dataclasses.replace(output, loss=output.loss + torch.sqrt(zero - zero.detach()))
            self.passes += 1
        return output


class StopsAfter(Stopping):
    """Is asked to stop when so many steps are made."""

    def __init__(self, steps: list[Step], number: int) -> None:
        super().__init__()
        self._steps, self._number = steps, number

    def check(self) -> None:
        self.agree(float(len(self._steps) >= self._number), float(signal.SIGTERM))
        super().check()


def run(
    model: TaskModel,
    case: Case,
    on_step: Callable[[Step], None],
    *,
    folder: Path | None = None,
    stopping: Stopping | None = None,
    **settings: Any,
) -> Iterator[Epoch]:
    """Train; below `folder` are checkpoints, of which the newest is gone on from."""
    training = Training(**({"learning_rate": 1e-3, "epochs": 2, "evaluate_first": False} | settings))
    accelerator = make_accelerator(training)
    checkpoints = Checkpoints(folder, Checkpointing(), accelerator) if folder is not None else None
    if checkpoints is not None:
        checkpoints.find()
    return fit(
        model,
        case.examples["train"],
        case.examples["validation"],
        training=training,
        groups=Technique().parameter_groups(model.model),
        seed=0,
        accelerator=accelerator,
        on_step=on_step,
        checkpoints=checkpoints,
        stopping=stopping,
    )


def test_a_step_without_a_gradient_is_skipped_and_counted(sentiment: Case, tmp_path: Path) -> None:
    model, steps = Troubled(sentiment, no_number={3}), list[Step]()
    weights: list[torch.Tensor] = []
    journal = Journal(RunFolder(tmp_path))

    def look(step: Step) -> None:
        steps.append(step)
        journal.step(step)
        weights.append(next(model.parameters()).detach().clone())

    (epoch,) = run(model, sentiment, look, epochs=1, skip_steps=1)
    assert [step.skipped for step in steps] == [number == 3 for number in range(7)]
    assert math.isnan(steps[3].gradient_norm)
    assert math.isfinite(steps[3].loss)
    moved = [not torch.equal(one, other) for one, other in itertools.pairwise(weights)]
    assert moved == [True, True, False, True, True, True]
    counted = [step for step in steps if not step.skipped]
    assert epoch.train_loss == pytest.approx(sum(s.loss for s in counted) / sum(s.count for s in counted), rel=1e-12)
    assert epoch.examples == sum(step.examples for step in steps)  # those of the skipped step were used
    told = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [record["skipped"] for record in told] == [number == 3 for number in range(7)]
    assert told[3]["gradient_norm"] == "nan"


@pytest.mark.parametrize(("limit", "made"), [(0, 2), (1, 4)])
def test_one_more_than_the_limit_ends_the_run(limit: int, made: int, sentiment: Case) -> None:
    steps: list[Step] = []
    before = f", after {limit} that were skipped" if limit else ""
    sentence = f"training.learning_rate: the gradient is nan in step {made + 1}{before}: training diverged"
    with pytest.raises(Diverged, match=sentence):
        list(run(Troubled(sentiment, no_number={2, 4}), sentiment, steps.append, skip_steps=limit))
    assert len(steps) == made


def test_what_was_skipped_still_counts_in_a_resumed_run(sentiment: Case, tmp_path: Path) -> None:
    steps: list[Step] = []
    settings: dict[str, Any] = {"folder": tmp_path, "skip_steps": 1}
    with pytest.raises(Stopped):
        list(
            run(
                Troubled(sentiment, no_number={1}), sentiment, steps.append, stopping=StopsAfter(steps, 3), **settings
            )
        )
    assert [step.skipped for step in steps] == [False, True, False]
    sentence = "nan in step 5, after 1 that were skipped"
    with pytest.raises(Diverged, match=sentence):
        list(run(Troubled(sentiment, no_number={1}), sentiment, steps.append, **settings))


def test_a_resumed_epochs_sums_are_the_whole_epochs(case: Case, tmp_path: Path) -> None:
    whole: list[Step] = []
    expected = list(run(TaskModel(case.model(), case.task), case, whole.append))
    steps: list[Step] = []
    for stops in (1, 3, 4, len(whole) - 1):  # in the middle of the first epoch, and of the second
        model = TaskModel(case.model(), case.task)
        with pytest.raises(Stopped):
            list(run(model, case, steps.append, folder=tmp_path, stopping=StopsAfter(steps, stops)))
        assert len(steps) == stops
    (last,) = run(TaskModel(case.model(), case.task), case, steps.append, folder=tmp_path)
    assert last.train_loss == expected[-1].train_loss
    assert last.evaluation is not None
    assert expected[-1].evaluation is not None
    assert last.evaluation.loss == expected[-1].evaluation.loss
    sizes = lambda epoch: (epoch.epoch, epoch.learning_rate, epoch.examples, epoch.tokens)  # noqa: E731
    assert sizes(last) == sizes(expected[-1])
    ledger = lambda made: [(s.step, s.epoch, s.examples_hash, s.loss, s.gradient_norm) for s in made]  # noqa: E731
    assert ledger(steps) == ledger(whole)


def test_a_short_memory_halves_the_passes_and_changes_no_loss(sentiment: Case, tmp_path: Path) -> None:
    whole: list[Step] = []
    list(run(TaskModel(sentiment.model(), sentiment.task), sentiment, whole.append))
    steps: list[Step] = []
    settings: dict[str, Any] = {"folder": tmp_path, "out_of_memory": "split", "evaluation_batch_size": 2}
    model = Troubled(sentiment, at_most=2)
    with pytest.raises(Stopped):
        list(run(model, sentiment, steps.append, stopping=StopsAfter(steps, 2), **settings))
    assert [step.micro_batch_size for step in steps] == [2, 2]  # not 8, nor 4
    # The memory has room again, or so it seems: a run that is resumed does not try once more.
    list(run(TaskModel(sentiment.model(), sentiment.task), sentiment, steps.append, **settings))
    assert {step.micro_batch_size for step in steps} == {2}
    assert [step.examples_hash for step in steps] == [step.examples_hash for step in whole]
    for step, expected in zip(steps, whole, strict=True):
        assert step.loss == pytest.approx(expected.loss, abs=1e-6 * expected.count)


def test_a_setting_may_make_a_resumed_runs_passes_larger(sentiment: Case, tmp_path: Path) -> None:
    """What was set is no limit of the memory's."""
    steps: list[Step] = []
    for size, stops in ((2, 1), (4, 2)):
        model, stopping = TaskModel(sentiment.model(), sentiment.task), StopsAfter(steps, stops)
        with pytest.raises(Stopped):
            list(run(model, sentiment, steps.append, folder=tmp_path, stopping=stopping, micro_batch_size=size))
    assert [step.micro_batch_size for step in steps] == [2, 4]


def test_a_short_memory_stops_the_run_with_advice(sentiment: Case) -> None:
    def told(model: TaskModel, **settings: Any) -> str:
        with pytest.raises(OutOfMemory) as caught:
            list(run(model, sentiment, lambda _: None, **settings))
        return str(caught.value)

    assert told(Troubled(sentiment, at_most=7)) == (
        "training.micro_batch_size: the machine's memory is full with 8 examples a pass; set "
        "training.micro_batch_size=4, which changes no number, or training.out_of_memory=split, which does so by "
        "itself"
    )
    assert "is full at one example a pass" in told(Troubled(sentiment, at_most=0), out_of_memory="split")
    assert told(Troubled(sentiment, at_most=8), evaluation_batch_size=16) == (
        "training.evaluation_batch_size: the memory is full with 16 examples a pass; set "
        "training.evaluation_batch_size=8, which changes no number"
    )


def test_a_short_memory_splits_the_evaluation_too(sentiment: Case) -> None:
    settings: dict[str, Any] = {"epochs": 1, "evaluation_batch_size": 16, "micro_batch_size": 2}
    (expected,) = run(TaskModel(sentiment.model(), sentiment.task), sentiment, lambda _: None, **settings)
    model = Troubled(sentiment, at_most=3)
    (epoch,) = run(model, sentiment, lambda _: None, out_of_memory="split", **settings)
    assert epoch.evaluation is not None
    assert expected.evaluation is not None
    assert epoch.evaluation.loss == pytest.approx(expected.evaluation.loss, abs=1e-6)
    assert epoch.evaluation.predictions["row"].tolist() == expected.evaluation.predictions["row"].tolist()


def test_another_error_is_no_short_memory(sentiment: Case) -> None:
    class Broken(TaskModel):
        def forward(self, batch: dict[str, torch.Tensor]) -> Output:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model = Broken(sentiment.model(), sentiment.task)
    with pytest.raises(RuntimeError, match="mat1"):
        list(run(model, sentiment, lambda _: None, out_of_memory="split"))


@pytest.mark.parametrize(
    ("patience", "losses", "ends"),
    [
        (None, [3.0, 4.0, 5.0, 6.0], None),
        (1, [3.0, 2.0, 2.0, 1.0], 2),  # the same is not lower
        (2, [3.0, 2.0, 2.5, 1.9, 2.1, 2.2], 5),
        (2, [3.0, 2.0, None, 2.1, None, 2.2], 5),  # of evaluations, not epochs
        (1, [None, 2.0, 1.0], None),
        (1, [3.0, 4.0], 1),  # epoch 0 is the lowest so far
    ],
)
def test_early_stopping(patience: int | None, losses: list[float | None], ends: int | None) -> None:
    training = Training(learning_rate=1.0, early_stopping=patience)
    history = History(keeps_best=True, overrides=[])
    for number, loss in enumerate(losses):
        evaluation = None if loss is None else Evaluation(loss, 1, {}, {})
        epoch = Epoch(number, None, evaluation, None, 0, 0, 0.0)
        assert history.ends_early(training, epoch) == (number == ends)
        history.add(epoch_record(epoch), last=False)
