"""The runs of a comparison, and whether they may be compared."""

from __future__ import annotations

import dataclasses
import functools
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llama_experiments.errors import UserError
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.identity import what_counts
from llama_experiments.runs.result import Result
from llama_experiments.runs.saved import SavedRun, find_run, jobs_of
from llama_experiments.sweeps.intervals import Scores


@dataclasses.dataclass(frozen=True)
class Compared:
    """A run that ended well."""

    run: SavedRun
    result: Result
    settings: dict[str, Any]  # its config's leaves
    data: str  # the hash of its evaluation rows

    def scores(self) -> Scores:
        """The metric by row; by context or document where rows share them."""
        table = self._table
        return Scores.of(table.get("group", table["row"]), table["metric_sum"], table["metric_count"])

    def right(self) -> np.ndarray | None:
        """Which rows it has right, in their order, where the metric counts them; None of other metrics."""
        if self.result.metric != "accuracy":
            return None
        table = self._table
        order = np.argsort(table["row"])
        right: np.ndarray = table["metric_sum"][order] > 0
        return right

    @functools.cached_property
    def _table(self) -> dict[str, np.ndarray]:
        from llama_experiments.runs.written import read_numbers

        file = self.run.folder.predictions
        return read_numbers(file, "row", "metric_sum", "metric_count", perhaps=["group"])


def matching(word: str) -> list[str]:
    """What a wildcard finds, in order; of any other word itself.

    Raises:
        UserError: a wildcard that finds nothing.
    """
    matches = sorted(glob.glob(word)) if any(sign in word for sign in "*?[") else [word]
    if not matches:
        raise UserError(f"no run matches {word}")
    return matches


def find_runs(words: Sequence[str], uri: str | None) -> list[SavedRun]:
    """The runs that a person names: folders, MLflow ids, a sweep's folder for its jobs, wildcards.

    Raises:
        UserError: a name that means no run.
    """
    found: dict[Path, SavedRun] = {}
    for word in words:
        for match in matching(word):
            folder = Path(match).expanduser()
            is_sweep = folder.is_dir() and not (folder / ".hydra").exists()
            jobs = jobs_of(folder) if is_sweep else []
            runs = [SavedRun(RunFolder(job)) for job in jobs] or [find_run(match, uri)]
            found |= {run.folder.path.resolve(): run for run in runs}
    return list(found.values())


def comparable(runs: Sequence[SavedRun]) -> tuple[list[Compared], list[str]]:
    """The runs that ended well, and a line for each other.

    Raises:
        UserError: fewer than two are left, or they are of different tasks.
    """
    from llama_experiments.config import leaves

    compared, others = [], []
    for run in runs:
        result = run.result()
        if result is None or not run.folder.predictions.exists():
            state = run.state()
            why = f" ({state.reason})" if state.reason else ""
            others.append(f"{run.name} is left out: it {_how(state.state)}{why}")
            continue
        config = leaves(what_counts(run.plain_config()))
        compared.append(Compared(run, result, config, run.environment()["data"]["validation"]["hash"]))
    if len(compared) < 2:
        said = "; ".join(others) if others else "one was given"
        raise UserError(f"compare needs two runs that ended well, or more: {said}")
    kinds = list(dict.fromkeys((one.result.task, one.result.metric) for one in compared))
    if len(kinds) > 1:
        told = ", ".join(f"{one.run.name} ({one.result.task}, by {one.result.metric})" for one in compared)
        raise UserError(f"runs of different tasks or metrics cannot be compared: {told}")
    return compared, others


def _how(state: str) -> str:
    return {"running": "is running", "failed": "failed", "stopped": "was stopped"}.get(state, "was killed")
