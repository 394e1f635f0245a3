"""A mirror whose tracker refuses or hangs, one that goes on, and `sync`: every point once, whatever happened."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from llama_experiments.cli import main
from llama_experiments.errors import UserError
from llama_experiments.runs import mirror as module
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.mirrored import Mirroring, read_mirrored
from llama_experiments.runs.saved import SavedRun
from llama_experiments.runs.sync import sync_run
from llama_experiments.runs.tracker import Tracker
from tests.runs.conftest import Finished
from tests.runs.folders import append, epoch_record, made_folder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Of a run that has ended."""
    return made_folder(tmp_path / "run", [epoch_record(number, 0.5, 0.5) for number in (0, 1)], state="finished")


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store)


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes every connection and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    """The address of nobody."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def only_run(client: MlflowClient) -> Any:
    (run,) = client.search_runs(["1"])
    return run


def steps(client: MlflowClient, run_id: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run_id, "eval_loss")]


def mirrored_seconds(folder: RunFolder, tracker: Tracker, status: str = "FINISHED") -> tuple[float, float, list[str]]:
    """Seconds until training may go on, seconds that the end waits, and what is said."""
    said: list[str] = []
    mirror = Mirror(tracker, folder.path.parent, said.append)
    started = time.perf_counter()
    mirror.start(folder)
    mirror.changed()
    training = time.perf_counter() - started
    mirror.finish(status)
    return training, time.perf_counter() - started - training, said


def test_a_tracker_that_refuses_costs_nothing(folder: RunFolder, refusing: str) -> None:
    training, end, said = mirrored_seconds(folder, Tracker(uri=refusing))
    assert training < 1
    assert end < 9  # it has not been waited for to the end of its patience
    assert len(said) == 1
    assert said[0].startswith(
        f"the tracker at {refusing} does not answer (MlflowException): this run is not mirrored"
    )


@pytest.mark.parametrize(("status", "longest"), [("FINISHED", 2.0), ("KILLED", 1.0)])
def test_a_tracker_that_hangs_is_waited_for_at_the_end_alone(
    folder: RunFolder, hanging: str, status: str, longest: float, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr(module, "LONGEST_STOP", 1.0)
    training, end, said = mirrored_seconds(folder, Tracker(uri=hanging, patience=2), status)
    assert training < 1
    # A wait that begins while it imports MLflow or makes a call is one of a tracker that may still answer.
    assert longest <= end + training
    assert end < longest * 2 + 2
    assert [line.partition(": ")[0] for line in said] == [f"the tracker at {hanging} does not answer (TimeoutError)"]
    told = read_mirrored(folder.path)
    assert told is not None
    assert told.run_id is None


def test_a_run_behind_a_hanging_tracker_is_synced_elsewhere(
    folder: RunFolder, hanging: str, store: str, client: MlflowClient
) -> None:
    mirrored_seconds(folder, Tracker(uri=hanging, patience=0.2))
    until = time.monotonic() + 60
    while time.monotonic() < until:  # the thread that was left alone gives the folder free when its call ends
        with contextlib.suppress(UserError):
            assert sync_run(SavedRun(folder), Tracker(uri=store))["points"] == 4
            break
        time.sleep(0.2)
    assert steps(client, only_run(client).info.run_id) == [0, 1]
    assert sync_run(SavedRun(folder)) == {}


def test_a_resumed_run_goes_on_in_the_same_run(store: str, client: MlflowClient, tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "run", [epoch_record(0, None, 0.7)])
    ids = []
    for epoch in (1, 2):
        mirror = Mirror(Tracker(), tmp_path, lambda sentence: pytest.fail(sentence))
        mirror.start(folder)
        append(folder.epochs, [epoch_record(epoch, 0.5, 0.5)])
        mirror.changed()
        mirror.finish("KILLED" if epoch == 1 else "FINISHED")
        ids.append(mirror.run_id)
    assert ids[0] == ids[1]
    run = only_run(client)
    assert (run.info.run_id, run.info.status) == (ids[0], "FINISHED")
    assert steps(client, run.info.run_id) == [0, 1, 2]


def test_a_run_that_goes_on_is_running(
    store: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_experiments.runs.mirror.OPEN_AFTER", 0.1)
    folder = made_folder(tmp_path / "run", [epoch_record(0, None, 0.7)])
    for end in ("KILLED", "FINISHED"):
        mirror = Mirror(Tracker(), tmp_path, lambda sentence: pytest.fail(sentence))
        mirror.start(folder)
        until = time.monotonic() + 60
        note = "- task: made up"
        while not (
            mirror.run_id
            and (run := only_run(client)).info.status == "RUNNING"
            and run.data.tags.get("mlflow.note.content") == note
        ):
            assert time.monotonic() < until
            time.sleep(0.02)
        mirror.finish(end)
        assert only_run(client).info.status == end


def test_runs_that_lost_answers_have_left_are_one(store: str, client: MlflowClient, folder: RunFolder) -> None:
    """A create_run that timed out may have reached the server, and more than once."""
    sync_run(SavedRun(folder), Tracker(uri=store))
    told = read_mirrored(folder.path)
    assert told is not None
    client.create_run("1", tags={"run_uid": told.run_uid})
    sync_run(SavedRun(folder))
    assert only_run(client).info.run_id == told.run_id
    told.run_id = None  # as if no answer had come
    told.write(folder.path)
    sync_run(SavedRun(folder))
    assert steps(client, only_run(client).info.run_id) == [0, 1]


def test_a_deleted_run_is_brought_back(store: str, client: MlflowClient, folder: RunFolder) -> None:
    sync_run(SavedRun(folder), Tracker(uri=store))
    client.delete_run(only_run(client).info.run_id)
    sync_run(SavedRun(folder))
    assert steps(client, only_run(client).info.run_id) == [0, 1]
    assert len(client.search_runs(["1"], run_view_type=ViewType.ALL)) == 1


@pytest.mark.parametrize(
    ("state", "status"),
    [("finished", "FINISHED"), ("failed", "FAILED"), ("stopped", "KILLED"), ("running", "KILLED")],
)
def test_the_state_is_the_folders(state: str, status: str, store: str, client: MlflowClient, tmp_path: Path) -> None:
    """One that says running and is held by nobody was killed."""
    folder = made_folder(tmp_path / "run", [epoch_record(0, None, 0.7)], state=state)
    sync_run(SavedRun(folder), Tracker(uri=store))
    run = only_run(client)
    assert (run.info.status, run.info.start_time) == (status, 1_700_000_000_000)
    assert run.data.tags["mlflow.note.content"].endswith("- task: made up")
    if state != "running":
        assert run.info.end_time == 1_700_000_002_500
    end = run.info.end_time
    assert sync_run(SavedRun(folder)) == {}
    assert only_run(client).info.end_time == end


def test_the_verb_brings_a_run_to_another_store(
    finished: Finished, empty_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that was copied here: its tracker.json leads to a store of its own."""
    copy = tmp_path / "copied"
    shutil.copytree(finished.folder.path, copy)
    shutil.copy(empty_store, tmp_path / "other.db")
    address = f"tracker.uri=sqlite:///{tmp_path / 'other.db'}"
    assert main(["sync", str(copy), address]) == 0
    assert main(["sync", str(copy), address]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert second.endswith(": is up to date")
    there, here = (MlflowClient(tracking_uri=uri) for uri in (finished.uri, f"sqlite:///{tmp_path / 'other.db'}"))
    one, other = only_run(there), only_run(here)
    assert one.data.metrics == other.data.metrics
    assert one.data.params == other.data.params
    assert other.data.tags["run_folder"] == str(copy)
    assert one.data.tags["mlflow.note.content"] == other.data.tags["mlflow.note.content"]
    histories = [
        {
            name: [(p.step, p.value, p.timestamp) for p in where.get_metric_history(run.info.run_id, name)]
            for name in one.data.metrics
        }
        for where, run in ((there, one), (here, other))
    ]
    assert histories[0] == histories[1]
    points = sum(map(len, histories[0].values()))
    sent = f"{len(one.data.params)} parameters, 1 tag, 2 data sets, {points} points, 14 artifacts, 1 model, 1 state"
    assert first == f"{copy}: 1 run, {sent} sent"


def test_the_model_is_an_entity_of_mlflows(finished: Finished) -> None:
    client = MlflowClient(tracking_uri=finished.uri)
    run = only_run(client)
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (str(model.status), model.source_run_id) == ("READY", run.info.run_id)
    assert model.tags["folder"] == str(finished.folder.model)
    result = json.loads(finished.folder.result.read_text())
    assert model.params["learning_rate"] == str(result["learning_rate"])
    assert {metric.key: metric.value for metric in model.metrics}["eval_loss"] == result["eval_loss"]


def test_the_weights_are_copied_when_they_are_asked_for(
    finished: Finished, empty_store: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(finished.folder.path, copy)
    shutil.copy(empty_store, tmp_path / "other.db")
    saved, store = SavedRun(RunFolder(copy)), f"sqlite:///{tmp_path / 'other.db'}"
    client = MlflowClient(tracking_uri=store)
    for copied in (False, True):
        sync_run(saved, Tracker(uri=store, log_model=copied))
        (output,) = only_run(client).outputs.model_outputs
        there = [file.path for file in client.list_logged_model_artifacts(output.model_id)]
        assert ("model.safetensors" in there) == copied
    assert sync_run(saved, Tracker(uri=store, log_model=True)) == {}


def test_links_in_a_folder_are_not_followed(store: str, folder: RunFolder) -> None:
    (folder.path.parent / "secret").write_text("pass1word")
    folder.report.symlink_to(folder.path.parent / "secret")
    with pytest.raises(UserError, match=r"is a link to .*secret, outside its run"):
        sync_run(SavedRun(folder), Tracker(uri=store))


@pytest.mark.parametrize("name", ["epochs.jsonl", "run.json", "tracker.json"])
def test_a_damaged_file_is_told(name: str, store: str, folder: RunFolder) -> None:
    (folder.path / name).write_text("{nothing\n")
    with pytest.raises(UserError, match=f"{name} is damaged"):
        sync_run(SavedRun(folder), Tracker(uri=store))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sync"], "sync needs runs"),
        (["sync", "nothere"], "there is no run nothere"),
        (["sync", "RUN", "tracker.url=x"], "did you mean 'tracker.uri'"),
        (["sync", "RUN", "tracker.log_model=yes"], "tracker.log_model: must be true or false, not 'yes'"),
        (["sync", "RUN", "tracker.uri=http://me:pass1word@server"], "must not hold a password"),
        (["sync", "RUN", "tracker.uri=sqlite:////nothere/mlflow.db"], "whose folder does not exist"),
    ],
)
def test_what_sync_refuses(
    arguments: list[str], words: str, finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(finished.folder.path) if word == "RUN" else word for word in arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) == 1
    assert "pass1word" not in told


def test_a_folder_is_mirrored_by_one_at_a_time(folder: RunFolder, store: str) -> None:
    right = Mirroring(folder.path)
    with pytest.raises(UserError, match="is being mirrored by another process"):
        sync_run(SavedRun(folder), Tracker(uri=store))
    right.release()
    assert sync_run(SavedRun(folder), Tracker(uri=store))["points"] == 4
