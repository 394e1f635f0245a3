"""Any sweep in one table and one picture: what was swept, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_experiments.config import leaves
from llama_experiments.files import write_text
from llama_experiments.runs.identity import what_counts
from llama_experiments.sweeps.base import Job
from llama_experiments.sweeps.ladder import aligned
from llama_experiments.sweeps.winner import chosen


def summarize(folder: Path, jobs: Sequence[Job], missing: Sequence[str]) -> list[str]:
    """Write `sweep.md` and `sweep.png` into a sweep's folder; returns the table for the terminal."""
    from llama_experiments.sweeps.plots import plot_sweep

    swept = swept_settings(jobs)
    table = _table(jobs, swept)
    best = chosen(jobs)
    lines = ["# The sweep", "", *table, ""]
    if best is not None:
        lines += [
            f"The lowest evaluation loss is {best.result.eval_loss:.4f}, of {_name(best, swept)}. It is of the "
            "validation rows, which chose it among these jobs and so flatter it.",
            "",
        ]
    lines += ["![losses by what was swept](sweep.png)", ""]
    if missing:
        lines += [f"Not here, since they did not end well: {', '.join(missing)}.", ""]
    lines += [f"- [{job.folder.name}]({job.folder.name}/report.md)" for job in jobs]
    plot_sweep(jobs, swept, folder / "sweep.png")
    write_text(folder / "sweep.md", "\n".join(lines) + "\n")
    told = [*aligned(table), ""]
    if best is not None:
        told += [f"best: {_name(best, swept)}, evaluation loss {best.result.eval_loss:.4f}"]
    return told


def swept_settings(jobs: Sequence[Job]) -> dict[str, list[Any]]:
    """The settings in which the jobs differ, with each job's value."""
    trees = [leaves(what_counts(job.config)) for job in jobs]
    keys = list(dict.fromkeys(key for tree in trees for key in tree))
    values = {key: [tree.get(key) for tree in trees] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def _table(jobs: Sequence[Job], swept: dict[str, list[Any]]) -> list[str]:
    names = [key.rpartition(".")[2] for key in swept]
    columns = ["job", *names, "eval loss", "epoch", "metric", "seconds"]
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    for place, job in enumerate(jobs):
        result = job.result
        metric = result.metrics.get(result.metric)
        loss = f"{result.eval_loss:.4f}" if isinstance(result.eval_loss, float) else str(result.eval_loss)
        cells = [
            job.folder.name.partition("-")[0],
            *(_value(row[place]) for row in swept.values()),
            loss,
            str(result.epoch),
            "--" if metric is None else f"{result.metric} {metric:.4f}",
            f"{result.seconds + result.tuning_seconds:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _name(job: Job, swept: dict[str, list[Any]]) -> str:
    told = leaves(job.config)
    return ", ".join(f"{key.rpartition('.')[2]}={_value(told.get(key))}" for key in swept) or job.folder.name


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
