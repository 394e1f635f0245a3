"""A run's folder: the names of what is in it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from llama_experiments.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Where one run leaves everything: `outputs/<date>/<time>-<name>/`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def hydra(self) -> Path:
        """The composed config, the overrides and Hydra's own settings."""
        return self.path / ".hydra"

    @property
    def epochs(self) -> Path:
        """The journal: one JSON object an epoch."""
        return self.path / "epochs.jsonl"

    @property
    def steps(self) -> Path:
        """The journal of steps: one JSON object a step."""
        return self.path / "steps.jsonl"

    @property
    def resumes(self) -> Path:
        """When and from where the run was resumed: one JSON object a time."""
        return self.path / "resumes.jsonl"

    @property
    def checkpoints(self) -> Path:
        """What an unfinished run goes on from."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """What the model wrote after each evaluation: one JSON object a continuation."""
        return self.path / "samples.jsonl"

    @property
    def run(self) -> Path:
        """What the run is: its tags and its header, for whoever lists or mirrors it."""
        return self.path / "run.json"

    @property
    def traceback(self) -> Path:
        """Of an error that is not the user's."""
        return self.path / "traceback.txt"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @property
    def test(self) -> Path:
        """Loss and metrics of the test part, where there is one."""
        return self.path / "test.json"

    @property
    def test_predictions(self) -> Path:
        return self.path / "test_predictions.parquet"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        """What LoRA learned, for plain peft."""
        return self.path / "adapter"

    @property
    def evaluations(self) -> Path:
        """A folder for each later evaluation: by `evaluate`, on these rows or on others."""
        return self.path / "evaluations"

    @property
    def movement(self) -> Path:
        """Every tensor's hash before and after training."""
        return self.path / "movement.json"

    @property
    def tuning(self) -> Path:
        """The learning rates that were tried before the run."""
        return self.path / "tuning.json"

    @property
    def result(self) -> Path:
        """What came of the run and what it cost, for tables of several runs."""
        return self.path / "result.json"

    @property
    def rates(self) -> Path:
        return self.path / "rates.png"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def confusion(self) -> Path:
        return self.path / "confusion.png"

    @property
    def hygiene(self) -> Path:
        """What was found in the rows before the first step."""
        return self.path / "hygiene.json"

    @property
    def lengths(self) -> Path:
        return self.path / "lengths.png"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    def claim(self) -> None:
        """Take the folder for one run.

        Raises:
            UserError: another run has it, or it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.epochs, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError as error:
            raise UserError(
                f"{self.path} belongs to another run already; give this one its own with hydra.run.dir=..."
            ) from error
        except OSError as error:
            raise UserError(f"output_dir: {self.path} cannot be written to: {error.strerror}") from error
