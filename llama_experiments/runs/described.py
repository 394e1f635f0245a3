"""What a run's folder says of the run, as MLflow takes it: name, tags, parameters, data sets, note, artifacts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.state import read_state

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

LONGEST_NOTE = 8_000  # characters of a tag that MLflow keeps
STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
WHOLE = ("report", "hygiene", "run", "epochs", "steps", "test", "samples", "environment", "result", "movement")


def status(folder: RunFolder) -> str:
    """How the run is or ended, in MLflow's word."""
    told = read_state(folder.path)
    return STATUS[told.state] if told else "FINISHED" if folder.result.exists() else "KILLED"


def name(folder: RunFolder) -> str:
    """By what the run is listed."""
    return str(_run(folder).get("tags", {}).get("mlflow.runName") or folder.name)


def tags(folder: RunFolder, uri: str) -> dict[str, str]:
    """What people look for among many runs."""
    told = {key: str(value) for key, value in _run(folder).get("tags", {}).items()}
    told |= {"mlflow.source.type": "LOCAL", "mlflow.source.name": "llama_experiments"}
    told["run_folder"] = str(folder.path.resolve())  # it may have been moved
    return told | parent(folder, uri)


def parent(folder: RunFolder, uri: str) -> dict[str, str]:
    """The sweep's run that a job's is a child of, in this store."""
    from llama_experiments.runs.tracker import without_password
    from llama_experiments.sweeps.home import read_sweep

    told = read_sweep(folder.path.parent) or {}
    if not told.get("parent_run_id") or told.get("uri", without_password(uri)) != without_password(uri):
        return {}
    return {"mlflow.parentRunId": str(told["parent_run_id"])}


def parameters(folder: RunFolder) -> dict[str, Any]:
    """The leaves of the config."""
    told = _run(folder).get("parameters")
    if told is not None or not (folder.hydra / "config.yaml").exists():
        return dict(told or {})
    from llama_experiments.config import leaves
    from llama_experiments.runs.saved import SavedRun

    return leaves(SavedRun(folder).plain_config())


def data_sets(folder: RunFolder) -> list[DatasetInput]:
    """The parts of the data as MLflow's pages show them: what, and which content."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for part, told in _json(folder.environment).get("data", {}).items():
        source = json.dumps(told["files"] or told["source"])[:60_000]
        kind = "local" if told["files"] else "hub"
        profile = json.dumps({"num_rows": told["rows"]}) if "rows" in told else None
        # MLflow keeps 36 characters of a digest.
        dataset = Dataset(told["source"][:500], told["hash"][:36], kind, source, profile=profile)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", part)]))
    return inputs


def note(folder: RunFolder, status: str) -> str:
    """The run's description, in Markdown: what it is while it runs, its result in the end, or why there is none."""
    facts = "\n".join(f"- {fact}: {value}" for fact, value in _run(folder).get("facts", {}).items())
    if status == "FINISHED" and folder.report.is_file() and not folder.report.is_symlink():
        _, _, report = folder.report.read_text(encoding="utf-8").partition("\n")
        return report.partition("![")[0].strip()[:LONGEST_NOTE]
    told = read_state(folder.path)
    if status == "RUNNING" or told is None:
        return facts[:LONGEST_NOTE]
    # A stranger's error may say what belongs on no page of a tracker: its kind is enough there.
    reason = told.reason.partition(":")[0] if folder.traceback.exists() else told.reason
    return f"{reason}\n\n{facts}".strip()[:LONGEST_NOTE]


def samples(folder: RunFolder) -> dict[int, str]:
    """What the model wrote, as a text for each epoch."""
    from llama_experiments.runs.console import as_text
    from llama_experiments.runs.journal import read_journal
    from llama_experiments.tasks.base import Sample

    found: dict[int, list[Sample]] = {}
    for record in read_journal(folder.samples):
        found.setdefault(record.pop("epoch"), []).append(Sample(**record))
    return {epoch: as_text(told) for epoch, told in found.items()}


def artifacts(folder: RunFolder) -> Iterator[tuple[Path, str]]:
    """The files that go with the run, and their names there: everything but weights and predictions.

    No links: a stranger's folder could lead to files that are none of its own.
    """
    wanted = [getattr(folder, what) for what in WHOLE]
    wanted += [folder.tuning, folder.traceback, folder.curves, folder.confusion, folder.lengths, folder.rates]
    for file in wanted:
        if file.is_file() and not file.is_symlink():
            yield file, file.name
    for file in sorted(folder.hydra.glob("*.yaml")):
        if file.is_symlink() or folder.hydra.is_symlink():
            continue
        yield file, f"{folder.hydra.name.lstrip('.')}/{file.name}"


def started(folder: RunFolder) -> int | None:
    """In milliseconds since 1970."""
    told = read_state(folder.path)
    return told.started if told and told.started else None


def ended(folder: RunFolder) -> int | None:
    """In milliseconds since 1970."""
    told = read_state(folder.path)
    if not told or not told.started:
        return None
    if told.state == "running":
        return int(time.time() * 1000)
    if told.state == "killed":  # its last word is its end
        return int(folder.epochs.stat().st_mtime * 1000) if folder.epochs.exists() else None
    return told.started + int(told.seconds * 1000)


def _run(folder: RunFolder) -> dict[str, Any]:
    return _json(folder.run)


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{show(file)} is damaged: {error}") from error
    return dict(told)
