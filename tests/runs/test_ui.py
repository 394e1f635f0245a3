"""The `ui` verb: what it refuses, where it sends people, which server it becomes. tests/end_to_end opens the page."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from llama_experiments.cli import main
from llama_experiments.errors import UserError
from llama_experiments.runs.follower import Follower
from llama_experiments.runs.mirrored import Mirrored
from llama_experiments.runs.ui import links, losses_link, serve
from tests.runs.conftest import Finished
from tests.runs.folders import made_folder


class Became(Exception):
    """The process would be another program now."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    programs: list[tuple[list[str], dict[str, str]]] = []

    def become(program: str, command: list[str], environment: dict[str, str]) -> None:
        assert program == command[0] == sys.executable
        programs.append((command[1:], environment))
        raise Became

    monkeypatch.setattr(os, "execve", become)
    return programs


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ui", f"port={taken}"]) == 2
    said = f"port: {taken} is taken by another program; give another one, port={taken + 1}\n"
    assert capsys.readouterr() == ("", said)
    assert not list(tmp_path.iterdir())


def test_runs_on_a_server_are_looked_at_there(became: list[object]) -> None:
    with pytest.raises(UserError, match=r"tracker\.uri: the runs are on a server; open http://server:5000 in a"):
        serve("http://server:5000", "llama_experiments", 5000)
    assert became == []


def test_it_becomes_mlflows_server_on_this_machine_alone(
    became: list[tuple[list[str], dict[str, str]]],
    free: int,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(finished.home)
    with pytest.raises(Became):
        main(["ui", f"port={free}", "tracker.experiment=llama_experiments"])
    ((command, environment),) = became
    options = dict(zip(command[3::2], command[4::2], strict=True))
    assert command[:3] == ["-m", "mlflow", "server"]
    assert options["--backend-store-uri"] == finished.uri
    assert (options["--host"], options["--port"], options["--workers"]) == ("127.0.0.1", str(free), "1")
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"MLflow shows the runs of {finished.uri} in a few seconds; Ctrl-C ends it"
    assert [line.split()[0] for line in said[1:]] == ["runs", "losses"]
    assert all(f" http://127.0.0.1:{free}/#/" in line for line in said[1:])


def test_no_model_is_needed(became: list[object], free: int, tmp_path: Path, store: str) -> None:
    with pytest.raises(Became):
        main(["ui", f"port={free}", f"output_dir={tmp_path}", "model=local", "model.checkpoint=nothere"])
    assert len(became) == 1


def test_a_store_without_runs_is_told(store: str) -> None:
    assert links(store, "llama_experiments", "http://x") == {"no runs": "http://x"}


def test_links_lead_to_the_newest_runs(store: str, tmp_path: Path) -> None:
    ids = []
    for number in range(7):
        follower = Follower(made_folder(tmp_path / f"run{number}"), store, Mirrored(f"uid{number}", store, "mine"))
        follower.open()
        ids.append(follower.mirrored.run_id)
    told = links(store, "mine", "http://x")
    assert told["runs"] == "http://x/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART"
    assert told["losses"] == losses_link("http://x", "1", [str(run) for run in ids[:1:-1]])


def test_the_link_to_both_losses() -> None:
    link = losses_link("http://x", "7", ["a", "b"])
    page, _, query = link.partition("?")
    assert page == "http://x/#/metric"
    assert not set(link) & set(' "[]')  # a terminal takes all of it as one link
    asked = dict(part.split("=", 1) for part in query.split("&"))
    assert json.loads(unquote(asked["runs"])) == ["a", "b"]
    assert json.loads(unquote(asked["experiments"])) == ["7"]
    assert json.loads(unquote(asked["plot_metric_keys"])) == ["train_loss", "eval_loss"]
    assert json.loads(unquote(asked["metric"])) == "eval_loss"
    assert (asked["x_axis"], asked["workflowType"]) == ("step", "machine_learning")
