"""A sweep brought to MLflow: its own run, its jobs as that run's children, its report and what its end was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.files import write_text
from llama_experiments.paths import show
from llama_experiments.runs import described
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirrored import new_uid, read_mirrored
from llama_experiments.runs.saved import SavedRun, jobs_of
from llama_experiments.runs.state import read_state
from llama_experiments.runs.sync import sync_run, tracker_of
from llama_experiments.runs.tracker import Tracker, connect, experiment_id, without_password
from llama_experiments.sweeps.base import read_jobs
from llama_experiments.sweeps.finish import best_tags, reports
from llama_experiments.sweeps.home import TOLD, create_parent, read_sweep

if TYPE_CHECKING:
    from mlflow import MlflowClient


def sync_sweep(sweep: Path, tracker: Tracker) -> Iterator[tuple[Path, dict[str, int]]]:
    """Bring a sweep and its jobs to a store; each folder, and what was sent of it.

    Raises:
        UserError: the tracker does not answer, or somebody mirrors a job now.
    """
    told = read_sweep(sweep) or {}
    uri = tracker.resolved_uri(sweep.parent)
    sent: dict[str, int] = {}
    try:
        client = connect(uri)
        _parent(client, sweep, told, tracker, uri, sent)
        for job in jobs_of(sweep):
            if (job / "epochs.jsonl").exists():
                yield job, sync_run(SavedRun(RunFolder(job)), tracker)
        _close(client, sweep, str(told["parent_run_id"]), sent)
    except UserError:
        raise
    except Exception as error:  # an MLflow error's own text may hold a password
        raise UserError(
            f"the tracker at {without_password(uri)} does not answer ({type(error).__name__}): {show(sweep)} is not "
            "up to date there; nothing of it is lost, sync it again when the tracker answers"
        ) from None
    yield sweep, sent


def tracker_of_sweep(sweep: Path) -> Tracker:
    """Where a sweep is mirrored to, or was to be: as its jobs say, or its folder."""
    for job in jobs_of(sweep):
        if (job / "epochs.jsonl").exists():
            return tracker_of(RunFolder(job))
    return Tracker(uri=(read_sweep(sweep) or {}).get("uri"))


def _parent(
    client: MlflowClient, sweep: Path, told: dict[str, Any], tracker: Tracker, uri: str, sent: dict[str, int]
) -> None:
    """The sweep's own run in this store, found by its uid or made; `sweep.json` says which."""
    uid = told.setdefault("run_uid", new_uid())
    experiment = experiment_id(client, tracker.experiment, uri)
    found = list(client.search_runs([experiment], f"tags.run_uid = '{uid}'", max_results=10))
    known = told.get("parent_run_id")
    if not found and known and told.get("uri", uri) == without_password(uri):
        found = [run for run in client.search_runs([experiment], "tags.kind = 'sweep'") if run.info.run_id == known]
    if found:
        run_id = found[0].info.run_id
    else:
        run_id = create_parent(client, experiment, sweep, told.get("command", []), uid)
        sent["runs"] = 1
    now = {"uri": without_password(uri), "parent_run_id": run_id, "experiment_id": experiment}
    if {key: told.get(key) for key in now} != now:
        told |= now
        write_text(sweep / TOLD, json.dumps(told, indent=2) + "\n")


def _close(client: MlflowClient, sweep: Path, run_id: str, sent: dict[str, int]) -> None:
    """What the sweep's end leaves there, where that is missing."""
    run = client.get_run(run_id)
    mirrored = {str(job.resolve()): read_mirrored(job) for job in jobs_of(sweep)}
    ids = {where: one.run_id or "" for where, one in mirrored.items() if one is not None}
    note, kept = reports(sweep)
    tags = best_tags(read_jobs(sweep)[0], ids) | ({"mlflow.note.content": note[:8_000]} if note else {})
    for key, value in tags.items():
        if run.data.tags.get(key) != value:
            client.set_tag(run_id, key, value)
            sent["tags"] = sent.get("tags", 0) + 1
    there = {file.path: file.file_size for file in client.list_artifacts(run_id)}
    for path in kept:
        if path.exists() and there.get(path.name) != path.stat().st_size:
            client.log_artifact(run_id, str(path))
            sent["artifacts"] = sent.get("artifacts", 0) + 1
    state = read_state(sweep)
    status = described.STATUS[state.state] if state else "KILLED"
    if status not in (run.info.status, "RUNNING"):
        client.set_terminated(run_id, status)
        sent["states"] = 1
