"""The learning rate is chosen on training rows that were held out for it, and leaves the run as it found it."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset as Table
from transformers import PreTrainedModel

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.data.sources import LocalFiles
from llama_experiments.errors import SettingError, UserError
from llama_experiments.experiment import Experiment
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import read_journal
from llama_experiments.runs.tracker import Tracker
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.techniques.base import ParameterGroup, Technique
from llama_experiments.techniques.lora import LoRA
from llama_experiments.training import loop
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.settings import Training
from llama_experiments.training.tuning import Attempt, Tuning
from tests.conftest import sentences, write_table
from tests.training.conftest import LABELS, SENTIMENT

PAIRS = sentences(40)
# At 1e-3 by these: too slow to learn anything, right, far too fast but still a number.
SLOW, RIGHT, FAST = 1e-3, 5.0, 1e3
DIVERGES = 1e42  # a step of 1e39 is no number in fp32
TRAINING = Training(learning_rate=1e-3, epochs=3, schedule="constant")
NUMBER = re.compile(r"Number (\d+)")  # which no two of the texts share


@dataclasses.dataclass
class Chosen:
    """What came of a choice, and what it looked at."""

    training: Training
    attempts: list[Attempt]
    told: list[Attempt]
    fits: list[tuple[set[int], set[int], Training]]  # numbers in the texts trained on and evaluated on


Choose = Callable[..., Chosen]


@pytest.fixture
def choose(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Choose a rate on `PAIRS`."""
    tokenizer = load_tokenizer(model_folder)
    table = Table.from_dict({"text": [text for text, _ in PAIRS], "label": [LABELS.index(name) for _, name in PAIRS]})
    rows = Rows("train", "training rows", table, np.arange(len(PAIRS)) + 1, {})

    def numbers(examples: Examples) -> set[int]:
        values, offsets = examples.ragged["input_ids"]
        texts = [tokenizer.decode(values[a:b]) for a, b in itertools.pairwise(offsets)]
        return {int(found[1]) for text in texts if (found := NUMBER.search(text))}

    def start() -> tuple[PreTrainedModel, list[ParameterGroup]]:
        model = Checkpoint(checkpoint=str(model_folder)).load(SENTIMENT, seed=0).model
        return model, Technique().parameter_groups(model)

    def one(tuning: Tuning, training: Training = TRAINING, *, seed: int = 0, start: Any = start) -> Chosen:
        fits: list[tuple[set[int], set[int], Training]] = []
        fit = loop.fit

        def watched(model: TaskModel, train: Examples, validation: Examples, **settings: Any) -> Any:
            fits.append((numbers(train), numbers(validation), settings["training"]))
            return fit(model, train, validation, **settings)

        told: list[Attempt] = []
        accelerator = make_accelerator(training)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "fit", watched)
            chosen = tuning.choose(
                training, rows, SENTIMENT, tokenizer, start, seed, accelerator, tmp_path / "cache", told.append
            )
        return Chosen(*chosen, told, fits)

    one.start = start  # type: ignore[attr-defined]
    return one


def test_the_rate_with_the_lowest_held_out_loss_is_chosen(choose: Choose) -> None:
    found = choose(Tuning(multipliers=[FAST, SLOW, RIGHT]))
    assert [attempt.learning_rate for attempt in found.attempts] == [1e-6, 5e-3, 1.0]  # from the lowest up
    losses = [attempt.loss for attempt in found.attempts]
    assert losses[1] < min(losses[0], losses[2]) - 0.05
    assert found.training == dataclasses.replace(TRAINING, learning_rate=5e-3)  # nothing else is changed
    assert found.told == found.attempts
    assert all(attempt.seconds > 0 for attempt in found.attempts)


def test_an_attempts_loss_is_the_lowest_of_a_training_on_the_rest(choose: Choose) -> None:
    """As by hand: the same rows, rate and seed; and not the last epoch's, where an earlier one was better."""
    seen: dict[str, Examples] = {}
    fit = loop.fit

    def keep(model: TaskModel, train: Examples, validation: Examples, **settings: Any) -> Any:
        seen.update(train=train, validation=validation)
        return fit(model, train, validation, **settings)

    hurried = dataclasses.replace(TRAINING, learning_rate=3e-2, epochs=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "fit", keep)
        (attempt,) = choose(Tuning(multipliers=[1.0]), hurried, seed=3).attempts
    model, groups = choose.start()  # type: ignore[attr-defined]
    epochs = fit(
        TaskModel(model, SENTIMENT),
        seen["train"],
        seen["validation"],
        training=hurried,
        groups=groups,
        seed=3,
        accelerator=make_accelerator(hurried),
        on_step=lambda step: None,
    )
    losses = [epoch.evaluation.loss for epoch in epochs if epoch.evaluation is not None]
    assert attempt.loss == min(losses[1:])
    assert min(losses[1:]) < losses[-1]


def test_a_share_of_the_training_rows_is_held_out_and_the_rest_trained_on(choose: Choose) -> None:
    fits = choose(Tuning(multipliers=[SLOW, RIGHT], share=0.25)).fits
    assert fits[0][:2] == fits[1][:2]  # all rates are compared on the same
    trained, held_out, _ = fits[0]
    assert trained | held_out == set(range(40))
    assert not trained & held_out
    assert len(held_out) == 10
    assert sum(number % 2 for number in held_out) == 5  # of each class its share
    assert [training.learning_rate for *_, training in fits] == [1e-6, 5e-3]
    assert [(training.epochs, training.schedule) for *_, training in fits] == [(3, "constant")] * 2


def test_the_same_rows_for_the_same_seed_of_tuning_whatever_the_runs(choose: Choose) -> None:
    once = dataclasses.replace(TRAINING, epochs=1)

    def held_out(tuning_seed: int, run_seed: int) -> set[int]:
        return choose(Tuning(multipliers=[1.0], seed=tuning_seed), once, seed=run_seed).fits[0][1]

    assert held_out(0, 0) == held_out(0, 1)
    assert held_out(0, 0) != held_out(1, 0)


def test_a_rate_that_diverges_is_passed_over(choose: Choose) -> None:
    found = choose(Tuning(multipliers=[1.0, DIVERGES]))
    assert [np.isfinite(attempt.loss) for attempt in found.attempts] == [True, False]
    assert found.attempts[1].loss == np.inf
    assert found.training.learning_rate == 1e-3


def test_where_all_diverge_it_is_said(choose: Choose) -> None:
    with pytest.raises(UserError, match=r"^tuning.multipliers: training diverges at every rate; add lower ones$"):
        choose(Tuning(multipliers=[DIVERGES, 2 * DIVERGES]))


def test_no_attempt_holds_the_model_of_the_one_before(choose: Choose) -> None:
    before: list[weakref.ref[PreTrainedModel]] = []
    alive: list[int] = []

    def start() -> tuple[PreTrainedModel, list[ParameterGroup]]:
        gc.collect()
        alive.append(sum(model() is not None for model in before))
        model, groups = choose.start()  # type: ignore[attr-defined]
        before.append(weakref.ref(model))
        return model, groups

    choose(Tuning(multipliers=[1.0, 2.0, DIVERGES, 2 * DIVERGES]), start=start)
    assert alive == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"multipliers": []}, "multipliers must be one or more positive numbers"),
        ({"multipliers": [1.0, 0.0]}, "multipliers must be"),
        ({"multipliers": [float("nan")]}, "multipliers must be"),
        ({"share": 0.0}, "share must be between 0 and 1, not 0.0"),
        ({"share": 1.0}, "share must be"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_settings_that_are_none(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Tuning(**settings)


Run = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of all runs here, so that the tracker's store is made once."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def run(outputs: Path, model_folder: Path, tmp_path: Path) -> Run:
    """A whole run in this process, on `PAIRS` and on evaluation rows of one's choice."""

    def one(
        name: str, technique: Technique, training: Training, tuning: Tuning | None, evaluated_from: int = 100
    ) -> RunFolder:
        experiment = Experiment(
            model=Checkpoint(checkpoint=str(model_folder)),
            dataset=LocalFiles(
                train=str(write_table(tmp_path / "train.csv", [*PAIRS])),
                validation=str(write_table(tmp_path / f"{name}.csv", [*sentences(12, start=evaluated_from)])),
            ),
            task=SENTIMENT,
            technique=technique,
            training=training,
            tracker=Tracker(),
            tuning=tuning,
            output_dir=str(outputs),
        )
        experiment.run(tmp_path / name, {}, [], {})
        return RunFolder(tmp_path / name)

    return one


def steps(folder: RunFolder) -> list[tuple[float, float]]:
    return [(step["loss_sum"], step["gradient_norm"]) for step in read_journal(folder.steps)]


def starting_weights(folder: RunFolder) -> str:
    return str(json.loads(folder.environment.read_text())["model"]["starting_weights_hash"])


@pytest.mark.parametrize("technique", [Technique(), LoRA(dropout=0.1)], ids=["full", "lora"])
def test_the_run_after_it_is_the_run_without_it_at_that_rate(technique: Technique, run: Run) -> None:
    """From the same weights, on all training rows, to the last bit."""
    base = dataclasses.replace(TRAINING, learning_rate=1e-3, epochs=1)
    tuned = run("tuned", technique, base, Tuning(multipliers=[SLOW, RIGHT]))
    plain = run("plain", technique, dataclasses.replace(base, learning_rate=5e-3), None)
    assert starting_weights(tuned) == starting_weights(plain)
    assert steps(tuned) == steps(plain)
    assert sum(step["count"] for step in read_journal(tuned.steps)) == len(PAIRS)
    assert [epoch["eval_loss"] for epoch in read_journal(tuned.epochs)] == [
        epoch["eval_loss"] for epoch in read_journal(plain.epochs)
    ]
    result = json.loads(tuned.result.read_text())
    assert result["learning_rate"] == 5e-3
    assert result["tuning_seconds"] > 0
    tried = json.loads(tuned.tuning.read_text())
    assert [attempt["learning_rate"] for attempt in tried] == [1e-6, 5e-3]
    report = tuned.report.read_text()
    assert "| **0.005** |" in report
    assert "It is at the edge of what was tried" in report
    assert not plain.tuning.exists()


def test_the_evaluation_rows_have_no_say(run: Run) -> None:
    once, tuning = dataclasses.replace(TRAINING, epochs=1), Tuning(multipliers=[SLOW, RIGHT])
    folders = [run(f"run{start}", Technique(), once, tuning, evaluated_from=start) for start in (100, 301)]
    attempts = [
        [(attempt["learning_rate"], attempt["loss"]) for attempt in json.loads(folder.tuning.read_text())]
        for folder in folders
    ]
    assert attempts[0] == attempts[1]
    last = [read_journal(folder.epochs)[-1]["eval_loss"] for folder in folders]
    assert last[0] != last[1]  # they were other rows
