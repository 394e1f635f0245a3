"""Where runs are mirrored to: a store of MLflow's, made whole by one process, reached without long waits."""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from llama_experiments.errors import UserError, check_settings
from llama_experiments.garbage import importing
from llama_experiments.paths import show

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Read by MLflow when it is imported or called. A refused connection must not hold a run up for minutes.
MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "ALEMBIC_LOG_LEVEL": "ERROR",
}
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks")  # that MLflow knows
SECRETS = ("password", "passwd", "pwd", "token", "secret", "key")  # in the names of a URI's own settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracker:
    """Where runs are mirrored to."""

    uri: str | None = None  # of a server, or sqlite:///file.db; null: mlflow.db in output_dir
    experiment: str = "llama_experiments"
    every_steps: int = 10  # steps between two points of the step curves
    patience: float = 10.0  # seconds that a run's end waits for a tracker that does not answer
    log_model: bool = False  # copy the saved weights to the tracker; else its model entry leads to their folder

    def __post_init__(self) -> None:
        check_settings(
            ("every_steps", self.every_steps >= 1, "must be at least 1"),
            ("experiment", bool(self.experiment.strip()), "must be a name"),
            ("patience", 0 <= self.patience <= 3600, "must be from 0 to 3600 seconds"),
            ("uri", self.uri is None or _is_address(self.uri), "must be an address, such as http://server:5000"),
            (
                "uri",
                self.uri is None or not _is_address(self.uri) or not has_password(self.uri),
                "must not hold a password, which every run would keep; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment",
            ),
        )

    def resolved_uri(self, output_dir: Path) -> str:
        """The address of the store, the same from every folder."""
        uri = self.uri or f"sqlite:///{output_dir / 'mlflow.db'}"
        file = store_file(uri)
        return uri if file is None else f"sqlite:///{file.resolve()}"

    def opened_by(self, output_dir: Path) -> str:
        """What shows a person the runs: a command, or a server's address."""
        if self.uri is not None and urlsplit(self.uri).scheme.startswith("http"):
            return without_password(self.uri)
        settings = {"tracker.uri": self.uri} if self.uri else {"output_dir": str(output_dir)}
        settings["tracker.experiment"] = self.experiment
        usual = {"output_dir": "outputs", "tracker.experiment": Tracker.experiment}
        given = [f"{key}={value}" for key, value in settings.items() if value != usual.get(key)]
        return shlex.join(["python", "-m", "llama_experiments", "ui", *given])


def connect(uri: str) -> MlflowClient:
    """A client of the store; a new SQLite store is made whole, by one process, before anybody sees it."""
    file = store_file(uri)
    if file is not None and file.is_file() and file.stat().st_size and not _is_database(file):
        raise UserError(f"tracker.uri: {show(file)} is no SQLite database; name another file, or move this one away")
    prepare_environment()
    with importing():
        from mlflow import MlflowClient

        from llama_experiments.runs.store import create_store

    if file is not None and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with (file.parent / f".{file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                create_store(file)
    return MlflowClient(tracking_uri=uri)


def prepare_environment() -> None:
    """MLflow's switches, before its import: nothing is sent home, no call waits for minutes."""
    for key, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(key, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # An id left in the environment would beat the ones that we pass.
    os.environ.pop("MLFLOW_RUN_ID", None)
    # It prints the tracebacks of errors that it raises as well: a full disk's, which we tell in a sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    """An experiment's id; it is made where there is none. Beside a SQLite store lie its artifacts."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    file = store_file(uri)
    location = (file.parent / "mlflow-artifacts").resolve().as_uri() if file is not None else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except Exception:  # another process was first
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def store_file(uri: str) -> Path | None:
    """The file of a SQLite store; None of any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def without_password(uri: str) -> str:
    """A URI that can be shown."""
    parts = urlsplit(uri)
    if parts.password is not None or parts.username is not None:
        host = parts.hostname or ""
        parts = parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host)
    elif not _secrets(parts.query):
        return uri
    query = parts.query
    if hidden := _secrets(query):
        query = urlencode([pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in hidden])
    return urlunsplit(parts._replace(query=query))


def has_password(uri: str) -> bool:
    """Whether a URI gives away how to get in: by a password, or by a token in the place of a user's name."""
    parts = urlsplit(uri)
    token = parts.username is not None and parts.scheme.startswith("http")
    return parts.password is not None or token or bool(_secrets(parts.query))


def _secrets(query: str) -> set[str]:
    names = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    return {name for name in names if name.lower().endswith(SECRETS)}


def _is_address(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.port != 0 and parts.scheme.partition("+")[0] in STORES
    except ValueError:
        return False


def _is_database(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"
