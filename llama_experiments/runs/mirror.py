"""MLflow: a mirror of the journal. It may fail; the run goes on and its journal has everything."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from llama_experiments.errors import check_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Read by MLflow when it is imported or called. A refused connection must not hold a run up for minutes.
MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "ALEMBIC_LOG_LEVEL": "ERROR",
}
LONGEST_PARAMETER = 6_000  # characters that MLflow keeps
LONGEST_KEY = 250  # of a metric's name, too


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracker:
    """Where runs are mirrored to."""

    uri: str | None = None  # of a server, or sqlite:///file.db; null: mlflow.db in output_dir
    experiment: str = "llama_experiments"
    every_steps: int = 10  # steps between two points of the step curves

    def __post_init__(self) -> None:
        check_settings(
            ("every_steps", self.every_steps >= 1, "must be at least 1"),
            ("experiment", bool(self.experiment.strip()), "must be a name"),
            (
                "uri",
                self.uri is None or urlsplit(self.uri).password is None,
                "must not hold a password, which every run would keep; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment",
            ),
        )

    def resolved_uri(self, output_dir: Path) -> str:
        """The address of the store."""
        return self.uri or f"sqlite:///{(output_dir / 'mlflow.db').resolve()}"


class Mirror:
    """One run in MLflow, written from the journal's records. After a failure it stays silent and says so once."""

    def __init__(self, tracker: Tracker, output_dir: Path, report_failure: Callable[[str], None]) -> None:
        self._tracker, self._output_dir, self._report_failure = tracker, output_dir, report_failure
        self._client: MlflowClient | None = None
        self._steps: list[dict[str, Any]] = []
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        self.failure: str | None = None
        self._tokens, self._seconds = 0, 0.0  # of the epoch's steps so far

    @property
    def opened_by(self) -> str:
        """What shows a person the runs: a command, or a server's address."""
        uri = self._tracker.uri
        if uri is not None and urlsplit(uri).scheme.startswith("http"):
            return without_password(uri)
        settings = {"tracker.uri": uri} if uri else {"output_dir": str(self._output_dir)}
        settings["tracker.experiment"] = self._tracker.experiment
        usual = {"output_dir": "outputs", "tracker.experiment": Tracker.experiment}
        given = [f"{key}={value}" for key, value in settings.items() if value != usual.get(key)]
        return shlex.join(["python", "-m", "llama_experiments", "ui", *given])

    def start(
        self, name: str, parameters: dict[str, Any], tags: dict[str, str], data: dict[str, dict[str, Any]]
    ) -> None:
        """Open the run, with the config's leaves as parameters and what `environment.json` says of the data."""
        with self._forgiven():
            from mlflow.entities import Param

            uri = self._tracker.resolved_uri(self._output_dir)
            self._client = client = connect(uri)
            self.experiment_id = _experiment(client, self._tracker.experiment, uri, self._output_dir)
            source = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "llama_experiments"}
            run = client.create_run(self.experiment_id, run_name=name, tags=tags | source)
            self.run_id = run.info.run_id
            params = [Param(key, str(value)[:LONGEST_PARAMETER]) for key, value in parameters.items()]
            for start in range(0, len(params), 100):  # MLflow takes a hundred at once
                client.log_batch(self.run_id, params=params[start : start + 100])
            client.log_inputs(self.run_id, [_dataset(part, told) for part, told in data.items()])

    def step(self, record: dict[str, Any]) -> None:
        """Keep a step's record for the epoch's batch."""
        self._tokens += record["tokens"]
        self._seconds += record["seconds"]
        if record["step"] % self._tracker.every_steps == 0:
            self._steps.append(record)

    def epoch(self, record: dict[str, Any]) -> None:
        """Write an epoch and the steps kept since the last one, as one batch: all of it or nothing."""
        points = [
            _Point("train_loss", record["train_loss"], record["epoch"], record["time"]),
            _Point("eval_loss", record["eval_loss"], record["epoch"], record["time"]),
            *(_Point(key, value, record["epoch"], record["time"]) for key, value in record["metrics"].items()),
        ]
        if self._seconds > 0:  # of training: an epoch's own seconds have its evaluation in them
            speed = self._tokens / self._seconds
            points.append(_Point("train_tokens_per_second", speed, record["epoch"], record["time"]))
        for step in self._steps:
            for key, value in (
                ("train_step_loss", step["loss_sum"] / step["count"]),
                ("train_step_learning_rate", step["learning_rate"]),
                ("train_step_gradient_norm", step["gradient_norm"]),
            ):
                points.append(_Point(key, value, step["step"], step["time"]))
        self._steps, self._tokens, self._seconds = [], 0, 0.0
        self._log(points)

    def test(self, record: dict[str, Any]) -> None:
        """Write the test part's loss and metrics, with the epoch whose weights they are as the step."""
        values = {"loss": record["test_loss"], **record["metrics"]}
        self._log([_Point(f"test_{key}", value, record["epoch"], record["time"]) for key, value in values.items()])

    def _log(self, points: list[_Point]) -> None:
        with self._forgiven():
            from mlflow.entities import Metric

            metrics = [Metric(_key(p.key), float(p.value), p.time, p.step) for p in points if p.value is not None]
            for start in range(0, len(metrics), 1000):  # MLflow takes a thousand at once
                self._connected().log_batch(self.run_id, metrics=metrics[start : start + 1000])

    def samples(self, epoch: int, text: str) -> None:
        """Show as text what the model wrote after an epoch."""
        with self._forgiven():
            self._connected().log_text(self.run_id, text, f"samples/epoch_{epoch:04}.txt")

    def finish(self, status: str, artifacts: list[Path], note: str) -> None:
        """Close the run: FINISHED, FAILED or KILLED. Weights are never copied: the tag `run_folder` leads to them."""
        with self._forgiven():
            client = self._connected()
            client.set_tag(self.run_id, "mlflow.note.content", note[:8_000])
            for artifact in artifacts:
                if artifact.is_dir():
                    client.log_artifacts(self.run_id, str(artifact), artifact.name.lstrip("."))
                elif artifact.exists():
                    client.log_artifact(self.run_id, str(artifact))
            client.set_terminated(self.run_id, status)

    def _connected(self) -> MlflowClient:
        if self._client is None or self.run_id is None or self.failure is not None:
            raise ConnectionError("the tracker failed before")
        return self._client

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        """Whatever the tracker does, the run goes on: after the first failure the mirror is left alone."""
        try:
            yield
        except Exception as error:
            if self.failure is not None:
                return
            self.failure = type(error).__name__
            uri = without_password(self._tracker.resolved_uri(self._output_dir))
            self._report_failure(
                f"the tracker at {uri} does not answer ({self.failure}): this run is not mirrored to MLflow; "
                "its journal has everything"
            )


@dataclasses.dataclass(frozen=True)
class _Point:
    key: str
    value: Any
    step: int
    time: int


def _key(name: str) -> str:
    """A metric's name as MLflow takes it: in the name of a class anything may stand."""
    return re.sub(r"[^\w.: -]", "_", name)[:LONGEST_KEY]


def connect(uri: str) -> MlflowClient:
    """A client of the store; a new SQLite store is made whole, by one process, before anybody sees it."""
    prepare_environment()
    from mlflow import MlflowClient

    if uri.startswith("sqlite:///") and not (file := Path(uri.removeprefix("sqlite:///"))).exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with (file.parent / f".{file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                _create_store(file)
    return MlflowClient(tracking_uri=uri)


def prepare_environment() -> None:
    """MLflow's switches, before its import: nothing is sent home, no call waits for minutes."""
    for key, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(key, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # An id left in the environment would beat the ones that we pass.
    os.environ.pop("MLFLOW_RUN_ID", None)


def without_password(uri: str) -> str:
    """A URI that can be shown."""
    parts = urlsplit(uri)
    if parts.password is None and parts.username is None:
        return uri
    host = parts.hostname or ""
    return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))


def _create_store(file: Path) -> None:
    import logging

    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mlflow-") as folder:
        beside = Path(folder) / file.name
        MlflowClient(tracking_uri=f"sqlite:///{beside}").search_experiments(max_results=1)
        os.replace(beside, file)


def _dataset(part: str, told: dict[str, Any]) -> Any:
    """A part of the data as MLflow's pages show it: what, and which content."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps(told["files"] or told["source"])
    # MLflow keeps 36 characters of a digest.
    dataset = Dataset(told["source"][:500], told["hash"][:36], "local" if told["files"] else "hub", source[:60_000])
    return DatasetInput(dataset, [InputTag("mlflow.data.context", part)])


def _experiment(client: MlflowClient, name: str, uri: str, output_dir: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = (output_dir / "mlflow-artifacts").resolve().as_uri() if uri.startswith("sqlite:") else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except Exception:  # another process was first
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)
