"""A store to copy and a finished run to look at."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.tracker import connect
from tests.conftest import sentences, write_table
from tests.runs.made import run_command


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run of two epochs by a command, in `home`."""

    home: Path
    folder: RunFolder
    arguments: list[str]
    said: str
    empty_store: Path

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """Its journal."""
        return [json.loads(line) for line in self.folder.epochs.read_text().splitlines()]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.home / 'outputs' / 'mlflow.db'}"

    def again(self, folder: Path, *arguments: str) -> tuple[RunFolder, tuple[int, str, str]]:
        """Its command once more, in a folder and a store of its own; with its status and what it wrote."""
        (folder / "outputs").mkdir()
        shutil.copy(self.empty_store, folder / "outputs" / "mlflow.db")
        data = [f"dataset.{part}={self.home / part}.csv" for part in ("train", "validation")]
        done = run_command(folder, *self.arguments, *data, *arguments, "hydra.run.dir=outputs/run")
        return RunFolder(folder / "outputs" / "run"), done


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without runs: making one takes seconds, copying it none."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{file}")
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of a store of one's own: the one of `output_dir=tmp_path`."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="session")
def finished(model_folder: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run of the tiny model; row 3 of its 21 evaluation rows has no text."""
    home = tmp_path_factory.mktemp("finished")
    write_table(home / "train.csv", [*sentences(48)])
    validation: list[tuple[object, ...]] = [*sentences(20, start=100)]
    write_table(home / "validation.csv", [*validation[:2], ("  ", "positive"), *validation[2:]])
    (home / "outputs").mkdir()
    shutil.copy(empty_store, home / "outputs" / "mlflow.db")
    arguments = [
        "model=local",
        f"model.checkpoint={model_folder}",
        "model.learning_rate=3e-3",
        "dataset=local_sentiment",
        "dataset.train=train.csv",
        "dataset.validation=validation.csv",
        "task.max_length=48",
        "training.epochs=2",
        "tracker.every_steps=4",
    ]
    # What a notebook or an outer MLflow run may leave in the environment.
    left = {"MLFLOW_RUN_ID": "0123456789abcdef0123456789abcdef"}
    status, said, warned = run_command(home, *arguments, "hydra.run.dir=outputs/run", **left)
    assert (status, warned) == (0, "")
    return Finished(home, RunFolder(home / "outputs" / "run"), arguments, said, empty_store)
