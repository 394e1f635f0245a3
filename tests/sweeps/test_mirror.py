"""A sweep's jobs in MLflow: mirrored by one thread while they run, and synced with the sweep's own run afterwards."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from llama_experiments.runs import follower
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirror import BY_ANOTHER, Mirror
from llama_experiments.runs.mirrored import read_mirrored
from llama_experiments.runs.state import Held
from llama_experiments.runs.tracker import Tracker, connect
from llama_experiments.sweeps.mirror import SweepMirror
from llama_experiments.sweeps.sync import sync_sweep
from tests.runs.folders import append, epoch_record, made_folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(uri)
    return uri


def begun(sweep: Path, name: str, tracker: Tracker) -> tuple[RunFolder, Held]:
    """A job that runs: it writes its journal, and its own mirror knows that another does the rest."""
    folder = made_folder(sweep / name, [epoch_record(0, None, 0.7)])
    held = Held(folder.path)
    held.tell("running")
    mirror = Mirror(tracker, sweep, lambda sentence: pytest.fail(sentence))
    mirror.start(folder)
    assert mirror.run_id is None
    return folder, held


def run_of(store: str, folder: RunFolder) -> Any:
    told = read_mirrored(folder.path)
    assert told is not None
    client = MlflowClient(tracking_uri=store)
    return client.get_run(told.run_id) if told.run_id else None


def losses(store: str, folder: RunFolder) -> list[int]:
    run = run_of(store, folder)
    history = MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, "eval_loss") if run else []
    return [point.step for point in history]


def test_jobs_are_mirrored_while_they_run(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(uri=store)
    with SweepMirror(tmp_path, tracker, tmp_path) as mirror:
        mirror.add(tmp_path / "later")  # nothing is there yet, and nothing will be
        jobs = [begun(tmp_path, name, tracker) for name in ("0-a", "1-b")]
        for folder, _ in jobs:
            mirror.add(folder.path)
        until = time.monotonic() + 60
        while not all(losses(store, folder) == [0] for folder, _ in jobs):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert {run_of(store, folder).info.status for folder, _ in jobs} == {"RUNNING"}
        for (folder, held), word in zip(jobs, ("finished", "failed"), strict=True):
            append(folder.epochs, [epoch_record(1, 0.6, 0.5)])
            held.tell(word)  # type: ignore[arg-type]
            held.release()
    assert BY_ANOTHER not in os.environ
    assert [losses(store, folder) for folder, _ in jobs] == [[0, 1], [0, 1]]
    assert [run_of(store, folder).info.status for folder, _ in jobs] == ["FINISHED", "FAILED"]
    assert capsys.readouterr().out == ""


def test_jobs_of_a_sweep_that_was_killed_are_made_up_for(store: str, tmp_path: Path) -> None:
    """Their own process had mirrored them; what it had not got to is sent by the next."""
    folder = made_folder(tmp_path / "0-a", [epoch_record(0, None, 0.7)], state="finished")
    (folder.path / "tracker.json").write_text(
        json.dumps({"run_uid": tmp_path.name, "uri": store, "experiment": "llama_experiments"})
    )
    for _ in range(2):
        with SweepMirror(tmp_path, Tracker(uri=store), tmp_path) as mirror:
            mirror.add(folder.path)
        assert losses(store, folder) == [0]
        assert run_of(store, folder).info.status == "FINISHED"


def test_a_tracker_that_fails_is_told_once_and_the_sweep_synced(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    tracker = Tracker(uri=store)

    def refuses(uri: str) -> None:
        raise ConnectionError("http://me:pass1word@server")

    with monkeypatch.context() as patch:
        patch.setattr(follower, "connect", refuses)
        with SweepMirror(sweep, tracker, tmp_path) as mirror:
            for name in ("0-a", "1-b"):
                folder, held = begun(sweep, name, tracker)
                (folder.path / ".hydra").mkdir()
                (folder.path / ".hydra" / "config.yaml").write_text("seed: 0\n")
                mirror.add(folder.path)
                held.tell("finished")
                held.release()
    assert capsys.readouterr().out == (
        f"the tracker at {store} does not answer (ConnectionError): all of the sweep is not mirrored to MLflow; its "
        f"journal has everything, and `python -m llama_experiments sync {sweep}` brings it there later\n"
    )
    (sweep / "sweep.json").write_text(json.dumps({"command": ["-m", "seed=0,1"], "run_uid": tmp_path.name}))
    sent = dict(sync_sweep(sweep, tracker))
    assert [path.name for path in sent] == ["0-a", "1-b", "sweep"]
    parent = json.loads((sweep / "sweep.json").read_text())["parent_run_id"]
    told = MlflowClient(tracking_uri=store).get_run(parent)
    assert told.data.tags["command"] == "python -m llama_experiments -m seed=0,1"
    for name in ("0-a", "1-b"):
        assert losses(store, RunFolder(sweep / name)) == [0]
        assert run_of(store, RunFolder(sweep / name)).data.tags["mlflow.parentRunId"] == parent
    assert not any(dict(sync_sweep(sweep, tracker)).values())
