"""A run that is killed anywhere goes on as if nothing had happened, to the bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sentences, write_table
from tests.torture.killed import command, left_by


class Runs:
    """The same run, made in several folders."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self._settings = [
            "dataset=local_sentiment",
            f"dataset.train={write_table(folder / 'train.csv', [*sentences(40)])}",
            f"dataset.validation={write_table(folder / 'validation.csv', [*sentences(20, start=100)])}",
            "model=local",
            f"model.checkpoint={model}",
            "model.learning_rate=1e-3",
            "task.max_length=48",
            "training.epochs=3",
            "training.evaluation_batch_size=8",
            "training.checkpoint.every_steps=2",
        ]

    def start(self, name: str, dies: Any = None, *others: str) -> int:
        """Into `o/a/name`; returns the wait status."""
        place = [f"output_dir={self.folder / 'o'}", f"hydra.run.dir={self.run(name)}"]
        return command(self.folder, [*self._settings, *place, *others], dies)

    def resume(self, name: str, dies: Any = None) -> int:
        return command(self.folder, ["resume", str(self.run(name))], dies)

    def run(self, name: str) -> Path:
        return self.folder / "o" / "a" / name

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'o' / 'mlflow.db'}"

    def said(self) -> str:
        return (self.folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def runs(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    made = Runs(tmp_path_factory.mktemp("resumed"), model_folder)
    assert made.start("whole") == 0, made.said()
    return made


@pytest.fixture(scope="module")
def whole(runs: Runs) -> dict[str, Any]:
    return left_by(runs.run("whole"), runs.uri)


KILLS = [
    ("start", 1),
    ("step", 1),
    ("step", 8),
    ("torn", 5),
    ("checkpoint", 3),
    ("renaming", 12),
    ("evaluation", 14),
    ("epoch", 2),
    ("model", 2),
    ("tracker", 2),
    ("finish", 1),
    ("closing", 1),
]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill[0]}-{kill[1]}")
def test_a_killed_run_goes_on_to_the_bit(kill: tuple[str, int], runs: Runs, whole: dict[str, Any]) -> None:
    name = f"killed-{kill[0]}-{kill[1]}"
    assert os.WTERMSIG(runs.start(name, kill)) == signal.SIGKILL, runs.said()
    assert runs.resume(name) == 0, runs.said()
    assert left_by(runs.run(name), runs.uri) == whole


def test_a_run_may_be_killed_again_and_again(runs: Runs, whole: dict[str, Any]) -> None:
    runs.start("often", ("step", 3))
    for kill in [("step", 4), ("checkpoint", 1), ("evaluation", 6), ("step", 3)]:
        assert os.WTERMSIG(runs.resume("often", kill)) == signal.SIGKILL, runs.said()
    assert runs.resume("often") == 0, runs.said()
    assert left_by(runs.run("often"), runs.uri) == whole
    assert len((runs.run("often") / "resumes.jsonl").read_text().splitlines()) == 5
