"""The journal: what happened, appended as it happens. It is the truth; the tracker and the report mirror it."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from llama_experiments.runs.folder import RunFolder
from llama_experiments.training.loop import Epoch, Step


class Journal:
    """Appends epochs and steps to a run's folder. An epoch is synced to the disk together with its steps."""

    def __init__(self, folder: RunFolder) -> None:
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
            "seconds": round(step.seconds, 6),
            "time": _now(),
        }
        _append(self._steps, record)
        return record

    def epoch(self, epoch: Epoch) -> dict[str, Any]:
        """Record an epoch; returns the record."""
        evaluation = epoch.evaluation
        record = {
            "epoch": epoch.epoch,
            "train_loss": epoch.train_loss,
            "eval_loss": evaluation.loss if evaluation else None,
            "metrics": evaluation.metrics if evaluation else {},
            "learning_rate": epoch.learning_rate,
            "examples": epoch.examples,
            "tokens": epoch.tokens,
            "seconds": round(epoch.seconds, 3),
            "time": _now(),
        }
        _append(self._epochs, record)
        for file in (self._steps, self._epochs):
            os.fsync(file.fileno())
        return record

    def close(self) -> None:
        """Close the files."""
        self._steps.close()
        self._epochs.close()


def read_journal(file: Path) -> list[dict[str, Any]]:
    """The records of `epochs.jsonl` or `steps.jsonl`; a torn last line, of a run that was killed, is not one."""
    lines = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


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
