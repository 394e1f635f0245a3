"""A sweep by the launcher: a ledger, one parent in MLflow, what is missing and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.conftest import sentences, write_table

TINY = ["dataset.train_examples=24", "dataset.validation_examples=16", "training.save_model=none"]
SWEEP = [*TINY, "training.epochs=1", "hydra.sweep.dir=sweep"]
Run = Callable[..., int]


def ledger(sweep: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (sweep / "jobs.jsonl").read_text().splitlines()]


def counted(sweep: Path) -> Counter[tuple[str, str]]:
    """How often each job was in each state."""
    return Counter((record["name"], record["state"]) for record in ledger(sweep))


def in_mlflow(folder: Path) -> tuple[list[Any], list[Any]]:
    """The parents and the children that are not deleted."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("llama_experiments")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in children], children


def test_a_sweep_widened_runs_what_is_missing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-m", "training.learning_rate=1e-3,3e-3", *SWEEP) == 0
    sweep = tmp_path / "sweep"
    first = {path: path.stat().st_mtime_ns for path in sweep.glob("*/epochs.jsonl")}
    assert run("-m", "training.learning_rate=1e-4,1e-3,3e-3", *SWEEP) == 0
    said = capsys.readouterr().out
    assert "2 of 3 jobs have their result already" in said
    assert "3 of 3 jobs done" in said
    rates = ["learning_rate=0.001", "learning_rate=0.003", "learning_rate=0.0001"]
    assert counted(sweep) == {(name, state): 1 for name in rates for state in ("started", "finished")}
    assert {path: path.stat().st_mtime_ns for path in first} == first
    table = (sweep / "sweep.md").read_text()
    assert table.count("\n| ") == 4
    assert (sweep / "sweep.png").stat().st_size > 10_000
    (parent,), children = in_mlflow(tmp_path)
    assert sorted(child.info.run_name for child in children) == sorted(rates)
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    best = min(children, key=lambda child: child.data.metrics["eval_loss"])
    assert parent.data.tags["best_run_id"] == best.info.run_id
    assert "1e-4,1e-3,3e-3" in json.loads((sweep / "sweep.json").read_text())["command"][1]


def test_a_job_that_fails_does_not_end_the_others(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", "training.learning_rate=1e9,1e-3", "training.max_grad_norm=null", *SWEEP]
    assert run(*sweep) == 1
    told = capsys.readouterr()
    assert told.err.count("the loss is") == 1
    assert "Traceback" not in told.err
    assert "1 of 2 jobs done, 1 failed" in told.out
    assert json.loads((tmp_path / "sweep" / "state.json").read_text())["state"] == "failed"
    assert run(*sweep, "sweep.retry_failed=false") == 1
    assert counted(tmp_path / "sweep")["learning_rate=1000000000.0", "started"] == 1
    assert run(*sweep) == 1  # by default it is tried again, and the first attempt makes room
    assert counted(tmp_path / "sweep")["learning_rate=1000000000.0", "started"] == 2
    assert counted(tmp_path / "sweep")["learning_rate=0.001", "started"] == 1
    assert len(list((tmp_path / "sweep" / "earlier").iterdir())) == 1
    _, children = in_mlflow(tmp_path)
    assert len(children) == 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["training.learning_rate=1e-3,0.001"], "is in the sweep twice"),
        (["training.learning_rate=1e-3,-1"], "training.learning_rate: must be a positive number, not -1"),
        (["seed=range(1,1)"], "no values"),
        # Each is right with the first value of the other: only all jobs together show it.
        (["technique=freeze,full", "technique.trainable_layers=0,99"], "technique.trainable_layers"),
    ],
)
def test_no_job_starts_of_a_sweep_with_a_mistake(
    run: Run, tmp_path: Path, values: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-m", *values, *SWEEP) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert "Epoch 0" not in told.out
    assert not (tmp_path / "sweep").exists()


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "llama_experiments", *arguments],
        cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    process.wait()
    pytest.fail(f"{word!r} was never said")


def test_a_sweep_killed_in_the_middle_goes_on(tmp_path: Path) -> None:
    command = ["-m", "training.learning_rate=1e-3,3e-3,5e-3", *TINY, "training.epochs=40", "hydra.sweep.dir=sweep"]
    process = start(tmp_path, *command)
    read_until(process, "--- job 2 of 3")
    read_until(process, " 3/40 ")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    sweep = tmp_path / "sweep"
    # What MLflow was told may lack its end, which is sent now.
    done = {path: path.stat().st_mtime_ns for path in sweep.glob("0-*/*.json") if path.name != "tracker.json"}
    again = subprocess.run(
        [sys.executable, "-m", "llama_experiments", *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "1 of 3 jobs have their result already" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert counted(sweep)["learning_rate=0.001", "started"] == 1
    assert counted(sweep)["learning_rate=0.003", "started"] == 2
    (parent,), children = in_mlflow(tmp_path)
    assert parent.info.status == "FINISHED"
    assert len(children) == 3
    assert {child.info.status for child in children} == {"FINISHED"}


def test_ctrl_c_ends_a_sweep_and_says_how_it_goes_on(tmp_path: Path) -> None:
    command = ["-m", "training.learning_rate=1e-3,3e-3", *TINY, "training.epochs=400", "hydra.sweep.dir=sweep"]
    process = start(tmp_path, *command)
    read_until(process, " 2/400 ")
    other = start(tmp_path, *command)  # two sweeps in one folder at once
    said, _ = other.communicate(timeout=60)
    assert other.returncode == 2
    assert "another process" in said
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "hydra.sweep.dir=sweep" in said
    assert counted(tmp_path / "sweep") == {
        ("learning_rate=0.001", "started"): 1,
        ("learning_rate=0.001", "stopped"): 1,
    }


def test_parallel_jobs_give_the_numbers_of_one_after_another(run: Run, tmp_path: Path) -> None:
    values = ["-m", "training.learning_rate=1e-3,3e-3", *TINY, "training.epochs=1"]
    assert run(*values, "hydra.sweep.dir=one") == 0
    began = time.perf_counter()
    assert run(*values, "hydra.sweep.dir=two", "sweep.parallel=2") == 0
    assert time.perf_counter() - began < 120
    losses = [
        [
            entry["objective"]
            for entry in sorted(ledger(tmp_path / name), key=lambda e: e["number"])
            if entry["state"] == "finished"
        ]
        for name in ("one", "two")
    ]
    assert losses[0] == losses[1]
    assert all((job / "job.log").stat().st_size for job in (tmp_path / "two").glob("[01]-*"))
    parents, children = in_mlflow(tmp_path)
    assert (len(parents), len(children)) == (2, 4)


def test_a_crash_ends_one_isolated_job(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'seed=1' in sys.argv and 'LLAMA_EXPERIMENTS_SWEEP' in os.environ:\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert run("-m", "seed=0,1", *SWEEP, "sweep.isolate=true") == 1
    ended = {record["name"]: record for record in ledger(tmp_path / "sweep") if record["state"] != "started"}
    assert ended["seed=0"]["state"] == "finished"
    assert (ended["seed=1"]["state"], ended["seed=1"]["reason"]) == (
        "failed",
        "its process was ended by signal SIGKILL",
    )


def test_the_test_rows_are_seen_once_by_the_best_job(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write_table(tmp_path / "test.csv", [*sentences(10, start=300)])
    settings = [f"dataset.test={test}", *SWEEP, "training.save_model=best"]
    own = ["dataset=local_sentiment", f"dataset.train={write_table(tmp_path / 'train.csv', [*sentences(40)])}"]
    own.append(f"dataset.validation={write_table(tmp_path / 'validation.csv', [*sentences(20, start=100)])}")
    assert run("-m", "training.learning_rate=1e-5,1e-3", *own, *settings) == 0
    seen = [file.parent for file in (tmp_path / "sweep").glob("*/test.json")]
    results = {file.parent: json.loads(file.read_text()) for file in (tmp_path / "sweep").glob("*/result.json")}
    assert seen == [min(results, key=lambda job: results[job]["eval_loss"])]
    told = json.loads((seen[0] / "test.json").read_text())
    said = f"looked at once: loss {told['test_loss']:.4f}, accuracy {told['metrics']['accuracy']:.4f}"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "sweep" / "test.md").read_text()
    _, children = in_mlflow(tmp_path)
    assert [child.data.metrics["test_loss"] for child in children if "test_loss" in child.data.metrics] == [
        told["test_loss"]
    ]
