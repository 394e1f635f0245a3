"""A sweep's own folder and its run in MLflow, whose children its jobs are."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.files import read_json, write_text
from llama_experiments.runs.mirrored import new_uid
from llama_experiments.runs.state import Held, is_held, read_state
from llama_experiments.runs.tracker import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from llama_experiments.runs.tracker import Tracker

SWEEP_VARIABLE = "LLAMA_EXPERIMENTS_SWEEP"  # tells a job in a process of its own which sweep it is of
TOLD = "sweep.json"


class Home:
    """A sweep's folder, held while its command runs, and the parent of its jobs in MLflow."""

    def __init__(self, folder: Path, command: Sequence[str], tracker: Tracker, output_dir: Path) -> None:
        """Take the folder and open the parent.

        Raises:
            UserError: another process runs a sweep there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._held = Held(folder)
        self._held.tell("running")
        told = read_sweep(folder) or {}
        self._client: MlflowClient | None = None
        self.warning = ""
        self.run_id: str | None = told.get("parent_run_id")
        self.experiment_id: str | None = told.get("experiment_id")
        self._uid = str(told.get("run_uid") or new_uid())
        self.opened_by = tracker.opened_by(output_dir)
        self._open(command, tracker, output_dir)
        told = {
            "run_uid": self._uid,
            "uri": without_password(tracker.resolved_uri(output_dir)),
            "command": list(command),
            "command_hash": command_hash(command),
            "parent_run_id": self.run_id,
            "experiment_id": self.experiment_id,
        }
        write_text(folder / TOLD, json.dumps(told, indent=2) + "\n")

    def _open(self, command: Sequence[str], tracker: Tracker, output_dir: Path) -> None:
        with self._forgiven():
            from llama_experiments.runs.tracker import connect, experiment_id

            uri = tracker.resolved_uri(output_dir)
            self._client = client = connect(uri)
            if self.run_id is not None:
                client.update_run(self.run_id, status="RUNNING")
                for run in self._children():  # we hold the folder: what says it is running was killed
                    if run.info.status in ("RUNNING", "KILLED"):
                        self._delete(run.info.run_id)
                return
            self.experiment_id = experiment_id(client, tracker.experiment, uri)
            self.run_id = create_parent(client, self.experiment_id, self.folder, command, self._uid)

    def close(self, state: str, reason: str, note: str, artifacts: Sequence[Path], best: dict[str, str]) -> None:
        """Say how the sweep ended, here and in MLflow.

        Args:
            best: of the best job, as tags: its id and its name.
        """
        from typing import cast

        from llama_experiments.runs.state import Word

        if self._client is not None and self.run_id is not None:
            with self._forgiven():
                for key, value in {"mlflow.note.content": note[:8_000], **best}.items():
                    self._client.set_tag(self.run_id, key, value)
                for artifact in artifacts:
                    if artifact.exists():
                        self._client.log_artifact(self.run_id, str(artifact))
                word = {"finished": "FINISHED", "stopped": "KILLED"}.get(state, "FAILED")
                self._client.set_terminated(self.run_id, word)
        self._held.tell(cast(Word, state), reason)
        self._held.release()

    def discard(self) -> bool:
        """Leave nothing behind of a sweep of which no job has started; whether there was none."""
        if (self.folder / "jobs.jsonl").exists() or next(self.folder.glob("*/"), None) is not None:
            return False
        if self.run_id is not None:
            self._delete(self.run_id)
        self._held.release()
        shutil.rmtree(self.folder)
        return True

    def children(self) -> dict[str, str]:
        """The jobs' runs in MLflow: folder -> id. Of attempts in one folder the newest alone stays there."""
        newest: dict[str, str] = {}
        for run in self._children():
            folder = run.data.tags.get("run_folder", "")
            if (old := newest.get(folder)) is not None:
                self._delete(old)
            newest[folder] = run.info.run_id
        return newest

    def _children(self) -> list[Run]:
        """The oldest first."""
        if self._client is None or self.run_id is None or self.experiment_id is None:
            return []
        with self._forgiven():
            found: list[Run] = []
            page = None
            while page is None or page.token:
                page = self._client.search_runs(
                    [self.experiment_id],
                    f"tags.`mlflow.parentRunId` = '{self.run_id}'",
                    max_results=1_000,
                    order_by=["attributes.start_time ASC"],
                    page_token=page.token if page else None,
                )
                found += page
            return found
        return []

    def _delete(self, run_id: str) -> None:
        with self._forgiven():
            if self._client is not None:
                self._client.delete_run(run_id)

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        """Whatever the tracker does, the sweep goes on."""
        try:
            yield
        except Exception as error:
            self._client = None
            self.warning = f"the tracker does not answer ({type(error).__name__}): the sweep itself is not in MLflow"


def create_parent(client: MlflowClient, experiment_id: str, folder: Path, command: Sequence[str], uid: str) -> str:
    """A sweep's run in MLflow; its id."""
    said = shlex.join(["python", "-m", "llama_experiments", *command])
    tags = {
        "sweep": sweep_name(folder),
        "kind": "sweep",
        "run_uid": uid,
        "run_folder": str(folder.resolve()),
        "command": said[:5_000],
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "llama_experiments",
        "mlflow.note.content": f"A sweep: `{said[:5_000]}`",
    }
    return str(client.create_run(experiment_id, run_name=folder.name, tags=tags).info.run_id)


def read_sweep(folder: Path) -> dict[str, Any] | None:
    """What `sweep.json` says; None where there is none."""
    file = folder / TOLD
    if not file.exists():
        return None
    return read_json(file)


def sweep_name(folder: Path) -> str:
    """What a sweep's runs are tagged with: date and time, and the name."""
    return f"{folder.resolve().parent.name}/{folder.resolve().name}"


def sweep_of_job(sweep_dir: str | None) -> Path | None:
    """The sweep that a job belongs to: Hydra's in this process, or the one that started this process."""
    told = os.environ.get(SWEEP_VARIABLE) or sweep_dir
    return Path(told) if told and (Path(told) / TOLD).exists() else None


def job_tags(sweep: Path, folder: Path) -> dict[str, str]:
    """A job's tags in MLflow beside any run's: its parent, its sweep, its name by what is swept."""
    from llama_experiments.sweeps.planned import short_name

    told = read_sweep(sweep) or {}
    tags = {"sweep": sweep_name(sweep)}
    if told.get("parent_run_id"):
        tags["mlflow.parentRunId"] = told["parent_run_id"]
    if name := short_name(folder.name.partition("-")[2]):
        tags["mlflow.runName"] = name
    return tags


def command_hash(command: Sequence[str]) -> str:
    """A sweep by what was typed, but for the folder."""
    kept = [word for word in command if not word.startswith("hydra.sweep.dir=")]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def unfinished(command: Sequence[str], output_dir: Path) -> Path | None:
    """The newest sweep of the same command that did not come to its end and does not go on now."""
    wanted = command_hash(command)
    for file in sorted(output_dir.glob(f"*/*/{TOLD}"), reverse=True):
        try:
            told, state = read_sweep(file.parent), read_state(file.parent)
        except UserError:  # damaged: not one to go on with
            continue
        same = told is not None and told.get("command_hash") == wanted
        if same and (state is None or state.state != "finished") and not is_held(file.parent):
            return file.parent
    return None
