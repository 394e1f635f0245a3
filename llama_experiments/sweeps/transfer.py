"""Why transfer learning: a trained start against a random one, at growing numbers of training rows."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_experiments.files import write_text
from llama_experiments.sweeps.base import Job, Sweep


@dataclasses.dataclass(frozen=True)
class Start:
    """One model to start from, over all numbers of rows."""

    name: str
    lowest: dict[int, float]  # training rows -> lowest evaluation loss after an epoch of training
    path: list[tuple[float, float]]  # at the most rows: seconds since training began, evaluation loss

    @property
    def best(self) -> float:
        """The lowest loss it reaches at all."""
        return min(self.lowest.values())

    def seconds_to(self, loss: float) -> float | None:
        """Seconds until its evaluation loss is no higher, between epochs on a straight line; None: it never is."""
        return _crossing(self.path, loss)

    def rows_to(self, loss: float) -> float | None:
        """Training rows until its lowest loss is no higher, on a line over the logarithm of the rows; None: never."""
        logarithmic = [(math.log(rows), lowest) for rows, lowest in sorted(self.lowest.items())]
        found = _crossing(logarithmic, loss)
        return None if found is None else math.exp(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer(Sweep):
    """The jobs differ in their model and in dataset.train_examples."""

    trained: str = "embedded"  # the choice of the group model that was trained before
    random: str = "embedded_from_scratch"

    def report(self, folder: Path, jobs: list[Job], missing: list[str]) -> list[str]:
        from llama_experiments.sweeps.plots import plot_transfer

        starts = [start for name in (self.trained, self.random) if (start := _start(name, jobs)) is not None]
        if len(starts) < 2 or starts[0].lowest.keys() != starts[1].lowest.keys():
            return [f"no comparison: of the jobs only {len(jobs)} ended well; without: {', '.join(missing)}"]
        item = jobs[0].result.item
        plot_transfer(starts, item, folder / "transfer.png")
        table, told = _table(starts, item), _claims(*starts)
        lines = ["# A trained start against a random one", "", *told, "", *table, "", "![transfer](transfer.png)", ""]
        lines += [
            "Each cell is the lowest evaluation loss after an epoch of training; learning rates: "
            + ", ".join(
                f"{name} {' '.join(f'{rate:g}' for rate in sorted(rates))}" for name, rates in _rates(jobs).items()
            )
            + "."
        ]
        write_text(folder / "transfer.md", "\n".join(lines) + "\n")
        return [*told, ""]


def _start(name: str, jobs: Sequence[Job]) -> Start | None:
    own = [job for job in jobs if job.choices["model"] == name]
    if not own:
        return None
    lowest = {}
    for job in own:
        losses = [record["eval_loss"] for record in job.epochs() if record["epoch"] > 0]
        lowest[_rows(job)] = min(loss for loss in losses if isinstance(loss, float))
    return Start(name, lowest, _path(max(own, key=_rows).epochs()))


def _rows(job: Job) -> int:
    """Training rows, as they were used."""
    import json

    environment = json.loads(job.folder.environment.read_text(encoding="utf-8"))
    return int(environment["data"]["train"]["rows"])


def _path(epochs: list[dict[str, Any]]) -> list[tuple[float, float]]:
    seconds, path = 0.0, []
    for record in epochs:
        seconds += record["seconds"] if record["epoch"] > 0 else 0.0
        if isinstance(record["eval_loss"], float):
            path.append((seconds, record["eval_loss"]))
    return path


def _crossing(path: Sequence[tuple[float, float]], level: float) -> float | None:
    """Where a path first comes down to a level, between its points on straight lines."""
    if path[0][1] <= level:
        return path[0][0]
    for (x, y), (next_x, next_y) in itertools.pairwise(path):
        if next_y <= level:
            return x + (next_x - x) * (y - level) / (y - next_y)
    return None


def _claims(trained: Start, random: Start) -> list[str]:
    """The three claims, in figures: loss at equal data, data to equal loss, time to a given loss."""
    fewest, most, level = min(random.lowest), max(random.lowest), random.best
    told = [
        f"At {most:,} rows the lowest loss is {trained.lowest[most]:.4f} from {trained.name} and "
        f"{random.lowest[most]:.4f} from {random.name}."
    ]
    rows = trained.rows_to(level)
    if rows is None:
        told.append(f"{trained.name} never comes down to {level:.4f}, the lowest of {random.name}.")
    else:
        enough = (
            f"{fewest:,} rows are enough" if trained.lowest[fewest] <= level else f"about {rows:,.0f} rows are enough"
        )
        told.append(
            f"For {level:.4f}, the lowest that {random.name} reaches with any number of rows, {enough} to "
            f"{trained.name}."
        )
    level = random.lowest[most]
    seconds, own_seconds = trained.seconds_to(level), random.seconds_to(level)
    if seconds is not None and own_seconds is not None:
        told.append(
            f"With {most:,} rows {trained.name} is at {level:.4f} after {seconds:.1f} s, {random.name} after "
            f"{own_seconds:.1f} s."
        )
    return told


def _table(starts: Sequence[Start], item: str) -> list[str]:
    lines = [f"| training rows | {' | '.join(f'{start.name} (nats per {item})' for start in starts)} | less |"]
    lines.append("|---:|---:|---:|---:|")
    for rows in sorted(starts[0].lowest):
        trained, random = (start.lowest[rows] for start in starts)
        lines.append(f"| {rows:,} | {trained:.4f} | {random:.4f} | {random - trained:+.4f} |")
    return lines


def _rates(jobs: Sequence[Job]) -> dict[str, set[float]]:
    rates: dict[str, set[float]] = {}
    for job in jobs:
        if job.result.learning_rate is not None:
            rates.setdefault(job.choices["model"], set()).add(job.result.learning_rate)
    return rates
