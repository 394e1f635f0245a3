"""A comparison in MLflow: on the sweep's own run where all are its jobs, else on a run tagged kind=comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirrored import read_mirrored
from llama_experiments.runs.tracker import connect, prepare_environment, store_file, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

LONGEST_TAG = 5_000  # characters


def record_comparison(runs: Sequence[RunFolder], report: str, files: Sequence[Path]) -> str:
    """Leave a comparison beside its runs; a line that says where, or why not.

    The same runs compared again take the place of the comparison that is there. Runs of several stores, and such as
    are in none, belong to no one's page: then nothing is left, and nothing said.
    """
    place = _place(runs)
    if place is None:
        return ""
    uri, experiment, ids = place
    try:
        client = connect(uri)
        run_id, where = _target(client, experiment, ids, report)
        for path in files:
            client.log_artifact(run_id, str(path), "compare")
    except Exception as error:  # an MLflow error's own text may hold a password
        return f"the tracker at {without_password(uri)} does not answer ({type(error).__name__}): not in MLflow"
    return f"in MLflow they are artifacts of {where}"


class Recorder:
    """Does so from a process of its own, which imports MLflow meanwhile: that takes longer than to compare."""

    def __init__(self, runs: Sequence[RunFolder]) -> None:
        self._runs = runs
        self._process = ProcessPoolExecutor(1, get_context("spawn")) if _place(runs) is not None else None
        if self._process is not None:
            self._process.submit(_get_ready)

    def record(self, report: str, files: Sequence[Path]) -> str:
        """The line of `record_comparison`."""
        if self._process is None:
            return ""
        with self._process:
            try:
                return self._process.submit(record_comparison, self._runs, report, files).result()
            except BrokenExecutor:
                return "what was to leave it in MLflow was ended: not in MLflow"


def _get_ready() -> None:
    prepare_environment()
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _place(runs: Sequence[RunFolder]) -> tuple[str, str, list[str]] | None:
    """The one store and experiment that all runs are in, and their ids there; None where there is no such."""
    told = [read_mirrored(run.path) for run in runs]
    ids = [one.run_id for one in told if one is not None and one.run_id is not None]
    places = {(one.uri, one.experiment_id) for one in told if one is not None}
    if len(ids) < len(runs) or len(places) != 1:
        return None
    ((uri, experiment),) = places
    file = store_file(uri)
    if experiment is None or (file is not None and not file.exists()):
        return None
    return uri, experiment, ids


def _target(client: MlflowClient, experiment: str, ids: Sequence[str], report: str) -> tuple[str, str]:
    """The run that keeps it, and what a person calls that run."""
    parents = {client.get_run(run_id).data.tags.get("mlflow.parentRunId") for run_id in ids}
    if len(parents) == 1 and (parent := parents.pop()) is not None:
        return parent, f"the sweep {client.get_run(parent).info.run_name}"
    compared = hashlib.sha256(" ".join(sorted(ids)).encode()).hexdigest()[:32]
    name = f"comparison of {len(ids)} runs, {compared[:6]}"
    found = client.search_runs([experiment], f"tags.compared = '{compared}'", max_results=1)
    if found:
        run_id = found[0].info.run_id
    else:
        tags = {"kind": "comparison", "compared": compared, "compared_runs": " ".join(ids)[:LONGEST_TAG]}
        source = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "llama_experiments"}
        run_id = client.create_run(experiment, run_name=name, tags=tags | source).info.run_id
    client.set_tag(run_id, "mlflow.note.content", report[:8_000])
    client.set_terminated(run_id, "FINISHED")
    return run_id, name
