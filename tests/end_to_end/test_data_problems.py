"""Rows with problems: told before the first step, refused before the model is loaded, or left out of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_experiments.models.checkpoint import Checkpoint
from tests.conftest import sentences, write_table
from tests.runs.made import run_command

ROWS = sentences(16)
EVALUATION = sentences(8, start=100)
SETTINGS = ["dataset=local_sentiment", "dataset.train=train.csv", "dataset.validation=dev.csv", "task.max_length=48"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Training rows of which one is repeated, two contradict each other, and one is an evaluation row."""
    train = [*ROWS, ROWS[3], ("Odd", "positive"), ("odd", "negative"), EVALUATION[2]]
    write_table(tmp_path / "train.csv", [*train])
    write_table(tmp_path / "dev.csv", [*EVALUATION])
    return tmp_path


def test_fail_comes_before_the_model(home: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoint, "load", lambda *_: pytest.fail("the model was loaded"))
    model = ["model=local", f"model.checkpoint={model_folder}"]
    status, said, told = run_command(home, *SETTINGS, *model, "dataset.on_problem=fail")
    assert (status, said) == (2, "")
    assert told.splitlines() == [
        "dataset.on_problem is fail, and the rows have problems:",
        "  train: 1 repeated, 2 contradictory",
        "  validation: 1 also in training",
    ]
    assert not list(home.glob("outputs/*/*/hygiene.json"))


def test_drop_trains_on_what_is_left(home: Path, model_folder: Path) -> None:
    model = ["model=local", f"model.checkpoint={model_folder}"]
    options = ["dataset.on_problem=drop", "training.epochs=1", "task.class_weights=balanced", "hydra.run.dir=run"]
    status, said, told = run_command(home, *SETTINGS, *model, *options)
    assert (status, told) == (0, "")
    assert "rows        training 1 repeated, 2 contradictory; evaluation 1 also in training\n" in said
    assert "dropped     4 of 20 training rows: 2 contradictory, 1 also in evaluation, 1 repeated\n" in said
    epochs = [json.loads(line) for line in (home / "run" / "epochs.jsonl").read_text().splitlines()]
    assert epochs[1]["examples"] == 16
    found = json.loads((home / "run" / "hygiene.json").read_text())
    assert found["dropped"] == {"contradictory": 2, "also in evaluation": 1, "repeated": 1}
    assert found["parts"]["train"]["contradictory"] == {"rows": 2, "numbers": [18, 19]}
    assert found["parts"]["validation"]["in_train"] == {"rows": 1, "numbers": [3]}
    assert (home / "run" / "lengths.png").stat().st_size > 10_000
    assert "| also in training |  | 1 (12.5%) |" in (home / "run" / "report.md").read_text()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("dataset.on_problem=dorp", ["dataset.on_problem: must be one of report, fail, drop (did you mean 'drop'?)"]),
        ("dataset.near_duplicates=some", ["dataset.near_duplicates: must be one of sample, all, none"]),
        ("task.class_weights=balancd", ["task.class_weights", "balanced"]),
        ("task.class_weights={positive: -1}", ["task.class_weights: must be positive numbers"]),
        ("task.class_weights={positive: much}", ["task.class_weights", "a number"]),
        ("task.class_weights={postive: 2}", ["task.class_weights.postive", "did you mean 'positive'?"]),
    ],
)
def test_settings_that_cannot_be(setting: str, words: list[str], home: Path, model_folder: Path) -> None:
    status, said, told = run_command(home, *SETTINGS, "model=local", f"model.checkpoint={model_folder}", setting)
    assert (status, said) == (2, "")
    assert len(told.splitlines()) == 1
    assert all(word in told for word in words), told
