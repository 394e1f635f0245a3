"""The journal's records as MLflow's points: read from a run's files, each record once."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_experiments.errors import UserError
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder

LONGEST_KEY = 250  # characters of a metric's name that MLflow takes


@dataclasses.dataclass(frozen=True)
class Point:
    """A metric's value at a step. The time is the journal's, so that the same point is the same everywhere."""

    key: str
    value: float
    step: int
    time: int


class Lines:
    """A journal file that grows: what was appended since the last look, whole lines only."""

    def __init__(self, file: Path) -> None:
        self._file, self._read = file, 0

    def new(self) -> list[dict[str, Any]]:
        """The records since.

        Raises:
            UserError: a line is no record.
        """
        if not self._file.exists():
            return []
        with self._file.open("rb") as stream:
            stream.seek(self._read)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        try:
            return [json.loads(line) for line in whole.decode("utf-8").split("\n") if line]
        except ValueError as error:
            raise UserError(f"{show(self._file)} is damaged: {error}") from error


class Points:
    """A run's points, as far as its journal goes."""

    def __init__(self, folder: RunFolder, every_steps: int) -> None:
        self._folder, self._every = folder, every_steps
        self._epochs, self._steps = Lines(folder.epochs), Lines(folder.steps)
        self._tokens: defaultdict[int, int] = defaultdict(int)  # of the steps, by epoch
        self._seconds: defaultdict[int, float] = defaultdict(float)
        self._tested = False

    def new(self) -> list[Point]:
        """Those since the last look."""
        epochs = self._epochs.new()  # before the steps: whoever sees an epoch sees all of its steps
        points = [point for record in self._steps.new() for point in self._step(record)]
        points += [point for record in epochs for point in self._epoch(record)]
        if not self._tested and self._folder.test.exists():
            self._tested = True
            points += self._test(json.loads(self._folder.test.read_text(encoding="utf-8")))
        return points

    def _step(self, record: dict[str, Any]) -> Iterator[Point]:
        self._tokens[record["epoch"]] += record["tokens"]
        self._seconds[record["epoch"]] += record["seconds"]
        if record["step"] % self._every:
            return
        told = {
            "train_step_loss": float(record["loss_sum"]) / record["count"],
            "train_step_learning_rate": record["learning_rate"],
            "train_step_gradient_norm": record["gradient_norm"],
        }
        yield from _points(told, record["step"], record["time"])

    def _epoch(self, record: dict[str, Any]) -> Iterator[Point]:
        told = {"train_loss": record["train_loss"], "eval_loss": record["eval_loss"], **record["metrics"]}
        epoch = record["epoch"]
        if self._seconds[epoch] > 0:  # of training: an epoch's own seconds have its evaluation in them
            told["train_tokens_per_second"] = self._tokens[epoch] / self._seconds[epoch]
        yield from _points(told, epoch, record["time"])

    def _test(self, record: dict[str, Any]) -> Iterator[Point]:
        """Of the test part; the step is the epoch whose weights they are."""
        told = {"test_loss": record["test_loss"]}
        told |= {f"test_{key}": value for key, value in record["metrics"].items()}
        yield from _points(told, record["epoch"], record["time"])


def metric_key(name: str) -> str:
    """A metric's name as MLflow takes it: in the name of a class anything may stand."""
    return re.sub(r"[^\w.: -]", "_", name)[:LONGEST_KEY]


def _points(values: dict[str, Any], step: int, time: int) -> Iterator[Point]:
    for key, value in values.items():
        if value is not None:
            yield Point(metric_key(key), float(value), step, time)
