"""What has happened in a run so far: what its report is written from, and what is read back when it is resumed."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from llama_experiments.data.hygiene import Hygiene
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.written import as_written, damaged, read_records
from llama_experiments.tasks.base import Sample
from llama_experiments.training.checkpoint import Place
from llama_experiments.training.loop import Epoch
from llama_experiments.training.settings import Training

NO_NUMBERS = ("inf", "-inf", "nan")  # as the journal has them


@dataclasses.dataclass(kw_only=True)
class History:
    """A run's facts, its epochs, and which of them is kept."""

    keeps_best: bool  # or the last epoch
    overrides: list[str]  # of the command line
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    hygiene: Hygiene | None = None
    shown: str = ""  # an example, as the model reads it
    learned: list[list[str]] = dataclasses.field(default_factory=list)  # sections about what moved, and how fast
    epochs: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # the journal's records
    samples: dict[int, list[Sample]] = dataclasses.field(default_factory=dict)  # by epoch
    kept: dict[str, Any] | None = None  # the epoch whose predictions and weights are the run's
    test: dict[str, Any] | None = None
    training_seconds: float = 0.0
    tuning_seconds: float = 0.0

    def add(self, record: dict[str, Any], *, last: bool) -> bool:
        """Take in an epoch; whether it is to be kept."""
        self.epochs.append(record)
        loss = record["eval_loss"]
        kept = self.kept
        if not self.keeps_best:
            keep = last
        else:
            # An untrained model is kept only until there is a trained one.
            keep = loss is not None and (kept is None or kept["epoch"] == 0 or float(loss) < float(kept["eval_loss"]))
        if keep:
            self.kept = record
        return keep

    @property
    def last(self) -> dict[str, Any]:
        """The last epoch's record."""
        return self.epochs[-1]

    def ends_early(self, training: Training, epoch: Epoch) -> bool:
        """Whether `epoch`, which comes now, is one too many without a new lowest loss."""
        losses = [float(record["eval_loss"]) for record in self.epochs if record["eval_loss"] is not None]
        return epoch.evaluation is not None and training.ends_early([*losses, epoch.evaluation.loss])

    def read_back(self, folder: RunFolder, place: Place, *, writes: bool) -> None:
        """Go back to `place`: take in what the journals tell of the time before, and cut what came after.

        Args:
            writes: whether this process is the one that cuts.
        """
        if writes:
            _cut_journals(folder, place.steps, place.recorded)
            for written in (folder.test, folder.result, folder.report):
                written.unlink(missing_ok=True)
        self.epochs, self.samples, self.kept = [], {}, None
        for record in read_records(folder.epochs, "epoch"):
            if not isinstance(loss := record.get("eval_loss"), float | int | None) and loss not in NO_NUMBERS:
                raise damaged(folder.epochs, f"eval_loss is no number in epoch {record['epoch']}")
            if record["epoch"] <= place.recorded:
                self.add(record, last=False)
        for record in read_records(folder.samples, "epoch") if folder.samples.exists() else []:
            epoch = record.pop("epoch")
            if epoch <= place.recorded:
                self.samples.setdefault(epoch, []).append(as_written(record, Sample, folder.samples))
        steps = read_records(folder.steps, "step", "seconds")[: place.steps] if folder.steps.exists() else []
        self.training_seconds = sum(record["seconds"] for record in steps)


def _cut_journals(folder: RunFolder, steps: int, epoch: int) -> None:
    """Cut a run's journals behind a step and an epoch, to go on from there; torn lines go, too."""
    for file, kind, last in (
        (folder.steps, "step", steps),
        (folder.epochs, "epoch", epoch),
        (folder.samples, "epoch", epoch),
    ):
        if file.exists():
            kept = sum(record[kind] <= last for record in read_records(file, kind))
            with file.open("rb") as lines:
                length = sum(len(line) for line, _ in zip(lines, range(kept), strict=False))
            os.truncate(file, length)
