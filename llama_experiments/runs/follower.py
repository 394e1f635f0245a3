"""One run in MLflow, brought to what its folder says: opened, kept up with the journal, closed. Nothing twice."""

from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from llama_experiments.runs import described
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.logged_model import log_model
from llama_experiments.runs.mirrored import Mirrored
from llama_experiments.runs.points import Point, Points
from llama_experiments.runs.tracker import connect, experiment_id, store_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LONGEST_PARAMETER, LONGEST_TAG = 6_000, 5_000  # characters that MLflow keeps
UID = "run_uid"  # the tag by which a run is found


class Abandoned(Exception):
    """Nobody waits for this any more."""


class Follower:
    """Brings a run's mirror up with its folder. Whatever the tracker raises comes out of here."""

    def __init__(self, folder: RunFolder, uri: str, mirrored: Mirrored, stopped: Event | None = None) -> None:
        self.folder, self.mirrored = folder, mirrored
        self._uri, self._stopped = uri, stopped or Event()
        self._made_client: MlflowClient | None = None
        self._points = Points(folder, mirrored.every_steps)
        self._seen: dict[str, set[int] | None] = {}  # the steps of a metric that are there; None: not yet asked
        self._samples = 0  # bytes of the file that is there
        self.calls = 0  # of the tracker, so far
        self.sent: dict[str, int] = {}  # what was not there before

    @property
    def _client(self) -> MlflowClient:
        if self._stopped.is_set():
            raise Abandoned
        self.calls += 1
        if self._made_client is None:
            self._made_client = connect(self._uri)
        return self._made_client

    def open(self, status: str = "RUNNING") -> None:
        """Find the run or make it; bring its parameters, tags and data sets up, and say that it goes on."""
        told = self.mirrored
        told.experiment_id = experiment_id(self._client, told.experiment, self._uri)
        run = self._find() or self._create()
        told.run_id = run.info.run_id
        told.write(self.folder.path)
        self._seen = dict.fromkeys(run.data.metrics)
        self._describe(run, status)
        if status == "RUNNING" != run.info.status:
            told.complete = False
            self._client.update_run(told.run_id, status=status)

    def catch_up(self) -> None:
        """Send what the journal has got since the last time."""
        self._log([point for point in self._points.new() if point.step not in self._steps_there(point.key)])
        size = self.folder.samples.stat().st_size if self.folder.samples.exists() else 0
        if size > self._samples:
            for epoch, text in described.samples(self.folder).items():
                self._text(f"samples/epoch_{epoch:04}.txt", text)
            self._samples = size

    def close(self, status: str) -> None:
        """Send the rest and say how it ended: FINISHED, FAILED or KILLED.

        Weights are not copied unless the tracker is told to: the tag `run_folder` leads to them.
        """
        self.catch_up()
        run = self._client.get_run(self.mirrored.run_id)
        self._tags(run, {"mlflow.note.content": described.note(self.folder, status)})
        for path, name in described.artifacts(self.folder):
            self._artifact(path, name)
        if status == "FINISHED":
            self._count("models", int(log_model(self._client, run, self.folder, self.mirrored)))
        if run.info.status != status:
            self._client.set_terminated(self.mirrored.run_id, status, described.ended(self.folder))
            self._count("states", 1)
        self.mirrored.complete = True
        self.mirrored.write(self.folder.path)

    def _find(self) -> Run | None:
        """The folder's run in this store. What a lost answer has left there beside it is removed."""
        from mlflow.entities import ViewType

        told = self.mirrored
        found = list(
            self._client.search_runs(
                [str(told.experiment_id)], f"tags.{UID} = '{told.run_uid}'", ViewType.ALL, max_results=100
            )
        )
        if not found:
            return None
        found.sort(key=lambda run: (run.info.run_id != told.run_id, run.info.start_time, run.info.run_id))
        first, *others = found
        for other in others:
            if other.info.lifecycle_stage == "active":
                self._client.delete_run(other.info.run_id)
        if first.info.lifecycle_stage != "active":
            self._client.restore_run(first.info.run_id)
        if told.run_id != first.info.run_id:
            told.run_id, told.model_id, told.artifacts = first.info.run_id, None, {}
        return first

    def _create(self) -> Run:
        tags = {UID: self.mirrored.run_uid} | described.tags(self.folder, self._uri)
        self._client.create_run(
            str(self.mirrored.experiment_id),
            start_time=described.started(self.folder),
            run_name=described.name(self.folder),
            tags=tags,
        )
        self.mirrored.run_id, self.mirrored.model_id, self.mirrored.artifacts = None, None, {}
        self._count("runs", 1)
        # Asked again rather than believed: a request that was sent twice has made two.
        run = self._find()
        if run is None:
            raise ConnectionError("the tracker has lost the run")
        return run

    def _describe(self, run: Run, status: str) -> None:
        """Parameters, tags and data sets that are not there yet."""
        from mlflow.entities import Param

        missing = {
            key: str(value)[:LONGEST_PARAMETER]
            for key, value in described.parameters(self.folder).items()
            if key not in run.data.params
        }
        params = [Param(key, value) for key, value in missing.items()]
        for start in range(0, len(params), 100):  # MLflow takes a hundred at once
            self._client.log_batch(run.info.run_id, params=params[start : start + 100])
        self._count("parameters", len(params))
        wanted = {UID: self.mirrored.run_uid} | described.tags(self.folder, self._uri)
        self._tags(run, wanted | {"mlflow.note.content": described.note(self.folder, status)})
        if not run.inputs.dataset_inputs and (data := described.data_sets(self.folder)):
            try:
                self._client.log_inputs(run.info.run_id, data)
            except Exception:
                if store_file(self._uri) is None:  # a server that is away is not asked twice
                    raise
                # In a file two runs that begin together with the same data both tell of it, and one was first.
                self._client.log_inputs(run.info.run_id, data)
            self._count("data sets", len(data))

    def _tags(self, run: Run, wanted: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        differ = [RunTag(key, text) for key, text in wanted.items() if run.data.tags.get(key) != text]
        if differ:
            self._client.log_batch(run.info.run_id, tags=differ)
            self._count("tags", len(differ))

    def _steps_there(self, key: str) -> set[int]:
        steps = self._seen.get(key, set())
        if steps is None:
            history = self._client.get_metric_history(str(self.mirrored.run_id), key)
            steps = {point.step for point in history}
        self._seen[key] = steps
        return steps

    def _log(self, points: list[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.time, point.step) for point in points]
        for start in range(0, len(metrics), 1000):  # MLflow takes a thousand at once
            self._client.log_batch(str(self.mirrored.run_id), metrics=metrics[start : start + 1000])
        for point in points:
            self._steps_there(point.key).add(point.step)
        self._count("points", len(points))

    def _artifact(self, path: Path, name: str) -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        if self.mirrored.artifacts.get(name) != digest:
            folder = name.rpartition("/")[0]
            self._client.log_artifact(str(self.mirrored.run_id), str(path), folder or None)
            self.mirrored.artifacts[name] = digest
            self._count("artifacts", 1)

    def _text(self, name: str, text: str) -> None:
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
        if self.mirrored.artifacts.get(name) != digest:
            self._client.log_text(str(self.mirrored.run_id), text, name)
            self.mirrored.artifacts[name] = digest
            self._count("artifacts", 1)

    def _count(self, what: str, number: int) -> None:
        if number:
            self.sent[what] = self.sent.get(what, 0) + number
