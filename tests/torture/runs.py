"""The same small run, made in several folders, each killed or stopped in its own way."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import sentences, write_table
from tests.torture.killed import At, command


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

    def start(self, name: str, *signals: At, others: Sequence[str] = ()) -> int:
        """Into `o/a/name`; returns the wait status."""
        place = [f"output_dir={self.folder / 'o'}"]
        if not any(other.startswith("hydra.run.dir=") for other in others):
            place.append(f"hydra.run.dir={self.run(name)}")
        return command(self.folder, [*self._settings, *place, *others], *signals)

    def resume(self, name: str, *signals: At, others: Sequence[str] = ()) -> int:
        return command(self.folder, ["resume", str(self.run(name)), *others], *signals)

    def run(self, name: str) -> Path:
        return self.folder / "o" / "a" / name

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'o' / 'mlflow.db'}"

    def said(self) -> str:
        return (self.folder / "log.txt").read_text()


def killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
