"""`runs`: one line a run, from its small files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., int]
Said = pytest.CaptureFixture[str]


def made(folder: Path, number: int, state: str = "finished") -> None:
    folder.mkdir(parents=True)
    (folder / "epochs.jsonl").write_text("")
    (folder / "run.json").write_text(json.dumps({"tags": {"task": "sentiment", "technique": "full"}}))
    (folder / "result.json").write_text(json.dumps({"eval_loss": 0.5 + number / 1e4}))
    told = {"state": state, "reason": "", "seconds": 1.0, "started": int(time.time() * 1000) - 1000 * (number + 1)}
    (folder / "state.json").write_text(json.dumps(told))


def test_a_line_a_run(run: Run, tmp_path: Path, capsys: Said) -> None:
    tiny = ["dataset.train_examples=24", "dataset.validation_examples=16", "training.epochs=1"]
    assert run("-m", "training.learning_rate=1e9,1e-3", "training.max_grad_norm=null", *tiny) == 1
    capsys.readouterr()
    assert run("runs") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["run", "task", "technique", "state", "loss", "age"]
    assert [line.split()[1:4] for line in said[1:]] == [
        ["sentiment", "full", "finished"],
        ["sentiment", "full", "failed"],
    ]
    assert run("runs", "state=failed") == 0
    assert "learning_rate=1000000000.0" in capsys.readouterr().out


def test_a_thousand_runs_take_no_time(run: Run, tmp_path: Path, capsys: Said) -> None:
    for number in range(1000):
        made(tmp_path / "outputs" / "2026-11-25" / f"run{number}", number, "running" if number == 3 else "finished")
    began = time.perf_counter()
    assert run("runs", "limit=5") == 0
    assert time.perf_counter() - began < 10  # it takes a quarter of a second
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in said[1:6]] == ["0.5000", "0.5001", "0.5002", "0.5003", "0.5004"]
    assert said[4].split()[3] == "killed"  # nobody holds it
    assert said[-1] == "and 995 more; limit=1000 lists them all"


def test_what_cannot_be_listed_is_explained(run: Run, tmp_path: Path, capsys: Said) -> None:
    for arguments, words in {
        ("elsewhere",): "there is no folder elsewhere",
        ("stat=failed",): "did you mean 'state'?",
        ("state=faild",): "did you mean 'failed'?",
        ("limit=no",): "limit: must be a number",
        ("one", "two"): "takes one folder",
    }.items():
        assert run("runs", *arguments) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "outputs").mkdir()
    assert run("runs", "task=chat") == 0
    assert "no run in outputs with task=chat" in capsys.readouterr().out
