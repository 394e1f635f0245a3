"""The journal: what happened, appended as it happens. It is the truth; the tracker and the report mirror it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.files import write_text
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder

if TYPE_CHECKING:
    from llama_experiments.tasks.base import Sample
    from llama_experiments.training.evaluation import Evaluation
    from llama_experiments.training.loop import Epoch
    from llama_experiments.training.step import Step


class Journal:
    """Appends epochs and steps to a run's folder. An epoch is synced to the disk together with its steps."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._samples = folder.samples
        self._steps = folder.steps.open("a", encoding="utf-8")
        self._epochs = folder.epochs.open("a", encoding="utf-8")

    def step(self, step: Step) -> dict[str, Any]:
        """Record a step; returns the record."""
        record = {
            "step": step.step,
            "epoch": step.epoch,
            "examples_hash": step.examples_hash,
            "loss_sum": step.loss,
            "count": step.count,
            "learning_rate": step.learning_rate,
            "gradient_norm": step.gradient_norm,
            "tokens": step.tokens,
            "micro_batch_size": step.micro_batch_size,
            "skipped": step.skipped,
            "seconds": round(step.seconds, 6),
            "time": _now(),
        }
        _append(self._steps, record)
        return record

    def epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Record an epoch and what the model wrote; returns the record."""
        record = epoch_record(epoch)
        # Before the epoch: whoever reads of an epoch finds its samples.
        if epoch.evaluation and epoch.evaluation.samples:
            self._append_samples(epoch.epoch, epoch.evaluation.samples)
        _append(self._epochs, record)
        self.sync()
        return record

    def sync(self) -> None:
        """Have all of it on the disk: a step is worth what an epoch or a checkpoint after it is."""
        for file in (self._steps, self._epochs):
            os.fsync(file.fileno())

    def _append_samples(self, epoch: int, samples: list[Sample]) -> None:
        """A file of their own, which a task that writes nothing does not have."""
        with self._samples.open("a", encoding="utf-8") as file:
            for sample in samples:
                _append(file, {"epoch": epoch, **dataclasses.asdict(sample)})
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._steps.close()
        self._epochs.close()


def epoch_record(epoch: Epoch) -> dict[str, Any]:
    """An epoch as the journal has it."""
    evaluation = epoch.evaluation
    return {
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "eval_loss": evaluation.loss if evaluation else None,
        "items": evaluation.count if evaluation else None,
        "metrics": evaluation.metrics if evaluation else {},
        "learning_rate": epoch.learning_rate,
        "examples": epoch.examples,
        "tokens": epoch.tokens,
        "seconds": round(epoch.seconds, 3),
        "time": _now(),
    }


def write_test(folder: RunFolder, epoch: int, evaluation: Evaluation) -> dict[str, Any]:
    """Record the evaluation of the test part, by the weights of `epoch`; returns the record."""
    record = {
        "epoch": epoch,
        "test_loss": evaluation.loss,
        "count": evaluation.count,
        "metrics": evaluation.metrics,
        "time": _now(),
    }
    finite = {key: _number(value) for key, value in record.items()}
    write_text(folder.test, json.dumps(finite, indent=2, allow_nan=False) + "\n")
    return record


def read_journal(file: Path) -> list[dict[str, Any]]:
    """The records of one of a run's `.jsonl` files; a torn last line, of a run that was killed, is not one.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"{show(file)} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{show(file)} is damaged: it is not UTF-8") from error
    return [_record(file, number, line) for number, line in enumerate(lines[:-1], 1) if line]


def _record(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{show(file)} is damaged: line {number} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise UserError(f"{show(file)} is damaged: line {number} is no record")
    return record


def _append(file: Any, record: dict[str, Any]) -> None:
    finite = {key: _number(value) for key, value in record.items()}
    file.write(json.dumps(finite, allow_nan=False) + "\n")
    file.flush()


def _number(value: Any) -> Any:
    """JSON has no infinity: such a number is written as a word."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return {key: _number(item) for key, item in value.items()} if isinstance(value, dict) else value


def _now() -> int:
    return int(time.time() * 1000)  # milliseconds, as the tracker counts
