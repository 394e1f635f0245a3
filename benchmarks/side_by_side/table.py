"""What came of the runs: a table for the terminal, two CSV files and a picture."""

from __future__ import annotations

import csv
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side.cases import Case

FIGURES = ("process", "process_cpu", "training", "training_cpu")  # seconds
OURS = "ours"


@dataclasses.dataclass(frozen=True)
class Measured:
    """One run of one side. Of a rival in a sweep's place, seconds are one run's times the number of rates."""

    case: str
    side: str
    process: float
    process_cpu: float
    training: float
    training_cpu: float
    memory: float  # MiB
    train_loss: float | None
    eval_loss: float
    tokens: int


def summary(case: Case, runs: Sequence[Measured]) -> list[dict[str, Any]]:
    """A row a side: minimum, median and maximum of each figure, and ratios of the minimum to ours."""
    lowest = {
        (side, figure): min(getattr(run, figure) for run in runs if run.side == side)
        for side in {run.side for run in runs}
        for figure in FIGURES
    }
    rows = []
    for side in case.sides:
        own = [run for run in runs if run.side == side]
        if not own:
            continue
        row: dict[str, Any] = {"case": case.name, "side": side, "runs": len(own)}
        for figure in FIGURES:
            values = [getattr(run, figure) for run in own]
            row |= {f"{figure}_min": min(values), f"{figure}_median": statistics.median(values)}
            row |= {f"{figure}_max": max(values)}
            ours = lowest.get((OURS, figure))
            row[f"{figure}_ratio"] = lowest[side, figure] / ours if ours and side != OURS else None
        for what in ("training", "process", "memory"):
            row[f"{what}_target"] = case.targets.get((side, what))
        row |= {"memory": max(run.memory for run in own)}
        ours = max((run.memory for run in runs if run.side == OURS), default=None)
        row |= {"memory_ratio": row["memory"] / ours if ours and side != OURS else None}
        row |= {"train_loss": own[-1].train_loss, "eval_loss": own[-1].eval_loss, "tokens": own[-1].tokens}
        rows.append(row)
    return rows


def as_text(case: Case, rows: Sequence[dict[str, Any]]) -> str:
    """For the terminal."""
    of = f"{case.rows[0]:,}/{case.rows[1]:,} rows, {case.length} tokens, {case.epochs} epochs"
    head = f"{'':<10}{'process s':>20}{'CPU s':>8}{'x':>6}{'training s':>22}{'CPU s':>8}{'x':>6}{'target':>9}"
    lines = [f"{case.name}: {case.about}, {of}", head + f"{'MiB':>7}{'x':>6}{'train':>9}{'eval':>9}{'tokens':>10}"]
    for row in rows:
        line = f"{row['side']:<10}"
        for what, width in (("process", 20), ("training", 22)):
            spread = "/".join(f"{row[f'{what}_{which}']:.1f}" for which in ("min", "median", "max"))
            line += f"{spread:>{width}}{row[f'{what}_cpu_min']:>8.1f}{_times(row[f'{what}_cpu_ratio']):>6}"
        target = " ".join(
            f"{what[0]}{row[f'{what}_target']:g}"
            for what in ("training", "process", "memory")
            if row[f"{what}_target"]
        )
        line += f"{target:>9}{row['memory']:>7.0f}{_times(row['memory_ratio']):>6}"
        line += f"{_loss(row['train_loss']):>9}{_loss(row['eval_loss']):>9}"
        lines.append(line + f"{row['tokens']:>10,}")
    return "\n".join(lines)


def write_csv(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All rows with all columns."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(file: Path, rows: Sequence[dict[str, Any]], threads: int) -> None:
    """How many times as long the others take: a panel for the whole process, one for training alone."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    others = [row for row in rows if row["side"] != OURS and row["process_cpu_ratio"]]
    if not others:
        return
    places = list(range(len(others)))[::-1]
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 1.2 + 0.3 * len(others)), sharey=True, layout="constrained")
    for panel, what in zip(panels, ("process", "training"), strict=True):
        panel.barh(places, [row[f"{what}_cpu_ratio"] for row in others], color="#7a9cc6", label="measured")
        targets = [(row[f"{what}_target"], place) for row, place in zip(others, places, strict=True)]
        known = [(target, place) for target, place in targets if target]
        if known:
            panel.plot(
                *zip(*known, strict=True), "|", color="#b03030", markersize=14, markeredgewidth=2, label="asked"
            )
        panel.axvline(1, color="black", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_title({"process": "whole process", "training": "training and evaluation"}[what])
        panel.set_xlabel(f"CPU time, times ours (lowest of each; {threads} threads)")
    panels[0].set_yticks(places, [f"{row['case']}: {row['side']}" for row in others])
    panels[0].legend(loc="lower right", fontsize=8)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _loss(loss: float | None) -> str:
    return "--" if loss is None else f"{loss:.4f}"
