"""MLflow in trouble: a store that several runs make at once, a tracker that fails in the middle, telemetry."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from llama_experiments.runs import follower as module
from llama_experiments.runs import tracker as tracker_module
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.saved import SavedRun
from llama_experiments.runs.sync import sync_run
from llama_experiments.runs.tracker import Tracker
from tests.conftest import ROOT
from tests.runs.conftest import Finished
from tests.runs.folders import epoch_record, made_folder
from tests.runs.simultaneous import mirror_a_run

SECRET = "pass1word"


def test_four_processes_make_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    processes = [context.Process(target=mirror_a_run, args=(number, tmp_path, start)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=300)
    assert [process.exitcode for process in processes] == [0] * 4
    assert not list(tmp_path.glob("failed*"))
    assert len((tmp_path / "made").read_text().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        "made",
        "mlflow.db",
        ".mlflow.db.lock",
        "runs",
        "mlflow-artifacts",
    }
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiments = [found for found in client.search_experiments() if found.name == "llama_experiments"]
    runs = client.search_runs([experiments[0].experiment_id])
    assert {run.info.run_name: run.data.metrics for run in runs} == {
        f"run{number}": {"eval_loss": number / 4} for number in range(4)
    }


def test_a_store_is_seen_only_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails on the way leaves nothing in its place."""

    def fails(self: MlflowClient, tracking_uri: str) -> None:
        Path(tracking_uri.removeprefix("sqlite:///")).write_bytes(b"SQLite format 3")
        raise OSError("no space left")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where no empty store is kept yet
    monkeypatch.setattr(MlflowClient, "__init__", fails)
    with pytest.raises(OSError, match="no space left"):
        tracker_module.connect(f"sqlite:///{tmp_path}/mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] == [".mlflow.db.lock"]


class _Failing:
    """A client that works for so many calls, and then tells its password."""

    def __init__(self, client: MlflowClient, calls: int) -> None:
        self.client, self.left, self.after = client, calls, 0

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                self.after += 1
                raise MlflowException(f"could not reach http://me:{SECRET}@server")
            return getattr(self.client, name)(*arguments, **named)

        return call


@pytest.mark.parametrize("calls", range(13))
def test_after_a_failure_the_mirror_is_silent_and_sync_mends_it(
    calls: int, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call fails of those that a run of two epochs makes."""
    client = MlflowClient(tracking_uri=store)
    client.create_experiment("llama_experiments", artifact_location=(tmp_path / "artifacts").as_uri())
    failing = _Failing(client, calls)
    monkeypatch.setattr(module, "connect", lambda uri: failing)
    sentences: list[str] = []
    tracker = Tracker(uri="http://server:5000")
    mirror = Mirror(tracker, tmp_path, sentences.append)
    folder = made_folder(tmp_path / "run", [epoch_record(number, 0.5, 0.5) for number in (0, 1)], state="finished")
    mirror.start(folder)
    mirror.changed()
    mirror.finish("FINISHED")
    assert failing.after == 1  # it was not asked again
    assert mirror.failure == "MlflowException"
    assert sentences == [
        "the tracker at http://server:5000 does not answer (MlflowException): this run is not mirrored to MLflow; "
        f"its journal has everything, and `python -m llama_experiments sync {folder.path}` brings it there later"
    ]
    failing.left = 1_000
    sync_run(SavedRun(folder))
    (run,) = client.search_runs(["1"])
    assert (run.info.status, run.data.params) == ("FINISHED", {"seed": "0"})
    assert [point.step for point in client.get_metric_history(run.info.run_id, "eval_loss")] == [0, 1]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "run.json", "epochs.jsonl", "steps.jsonl", "environment.json",
    }  # fmt: skip
    assert sync_run(SavedRun(folder)) == {}
    for file in folder.path.rglob("*"):
        assert SECRET.encode() not in file.read_bytes()


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key not in ("time", "seconds")} for one in records]


def test_a_run_goes_on_when_its_tracker_fails_in_the_middle(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_batch, calls = MlflowClient.log_batch, []

    def fails_at_epoch_1(self: MlflowClient, run_id: str, **named: Any) -> None:
        calls.append(named)
        if any(metric.step == 1 for metric in named.get("metrics", [])):
            raise MlflowException(f"could not reach http://me:{SECRET}@server")
        log_batch(self, run_id, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", fails_at_epoch_1)
    folder, (status, said, warned) = finished.again(tmp_path)
    assert status == 0
    assert warned.startswith(f"warning: the tracker at sqlite:///{tmp_path}/outputs/mlflow.db does not answer")
    assert len(warned.splitlines()) == 1
    assert SECRET not in said + warned
    assert "not mirrored to MLflow (see the warning above)" in said
    # The one that failed was the last: whatever came after it was not tried.
    assert any(metric.step == 1 for metric in calls[-1]["metrics"])
    assert {path.name for path in folder.path.iterdir()} == {path.name for path in finished.folder.path.iterdir()}
    journal = [json.loads(line) for line in folder.epochs.read_text().splitlines()]
    assert without_time(journal) == without_time(finished.epochs)


TELEMETRY = """
import json, sys, threading
from llama_experiments.runs import tracker
tracker.connect("sqlite:///" + sys.argv[1]).search_experiments()
from mlflow.telemetry.client import get_telemetry_client
print(json.dumps([get_telemetry_client() is None, [thread.name for thread in threading.enumerate()]]))
"""


@pytest.mark.parametrize("setting", [None, "false"])
def test_nothing_is_sent_home(setting: str | None, store: str, tmp_path: Path) -> None:
    """Not even when the environment asks for it."""
    database, home = store.removeprefix("sqlite:///"), tmp_path / "home"
    home.mkdir()
    # As it is on a person's machine: MLflow is silent by itself where it sees tests or continuous integration.
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(home), "PATH": os.environ["PATH"]}
    if setting is not None:
        environment["MLFLOW_DISABLE_TELEMETRY"] = setting
    command = [sys.executable, "-c", TELEMETRY, database]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True, [threading.main_thread().name]]
    assert not list(home.rglob("*telemetry*"))
