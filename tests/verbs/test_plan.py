"""plan: what a command would run and need, without running it; what cannot fit is refused, before a run as well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llama_experiments.planning import check
from llama_experiments.planning.available import Available
from tests.end_to_end.conftest import left_behind, run

__all__ = ["run"]  # a fixture

Run = Callable[..., int]
HUGE = ["model=embedded_from_scratch", "model.hidden_size=4096", "model.num_hidden_layers=32"]
HUGE += ["model.intermediate_size=11008", "model.num_attention_heads=32", "model.num_key_value_heads=8"]


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    little = Available(2_000_000_000, "cpu", "of free memory")
    monkeypatch.setattr(check, "available_memory", lambda: little)
    monkeypatch.setattr("llama_experiments.planning.available.available_memory", lambda: little)


def test_a_run_is_told_and_nothing_is_left(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "dataset.train_examples=100", "training.epochs=2") == 0
    said = capsys.readouterr().out
    assert "1 job, 26 steps" in said  # two epochs of 13 batches of 8
    assert "504,864 of 504,864" in said
    assert left_behind(tmp_path) <= {"outputs"}


def test_a_sweep_is_told_job_by_job(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    axes = ["technique=full,freeze", "training.epochs=1,2", "dataset.train_examples=80"]
    assert run("plan", "-m", *axes, "--json") == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert [(job["name"], job["steps"]) for job in jobs] == [
        ("technique=full,epochs=1", 10),
        ("technique=full,epochs=2", 20),
        ("technique=freeze,epochs=1", 10),
        ("technique=freeze,epochs=2", 20),
    ]
    assert jobs[0]["memory"] == jobs[1]["memory"]
    assert jobs[2]["memory"]["trainable"] == 2 * 96
    assert jobs[2]["memory"]["growth"] < jobs[0]["memory"]["growth"]


def test_a_preset_of_several_runs_is_a_sweep(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "experiment=lr_sweep", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["jobs"]) == 8


def test_time_is_told_on_request(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["dataset.train_examples=96", "dataset.validation_examples=32", "task.max_length=32"]
    assert run("plan", *few, "training.epochs=1", "--time", "--json") == 0
    one = json.loads(capsys.readouterr().out)["jobs"][0]["seconds"]
    assert 0 < one < 60
    assert run("plan", *few, "training.epochs=1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["jobs"][0]["seconds"] is None


@pytest.mark.parametrize(("task", "technique"), [("text_generation", "lora"), ("question_answering", "prompt")])
def test_other_tasks_and_what_they_write_can_be_timed(
    task: str, technique: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["dataset.train_examples=16", "dataset.validation_examples=8"]
    assert run("plan", f"task={task}", f"technique={technique}", *few, "training.epochs=1", "--time", "--json") == 0
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    assert job["seconds"] > 0
    assert (job["steps"] == 0) == (technique == "prompt")


def test_a_value_that_breaks_a_rule_is_told_for_every_job(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "-m", "training.epochs=1,0", "training.batch_size=4,-1") == 2
    said = capsys.readouterr().err
    assert "training.epochs: must be at least 1, not 0" in said
    assert "training.batch_size: must be at least 1, not -1" in said


def test_the_same_job_twice_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "-m", "training.epochs=1,1") == 2
    assert "job epochs=1 is in the sweep twice" in capsys.readouterr().err


def test_a_model_of_the_hub_that_cannot_be_reached_is_one_sentence(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", "model=llama2_7b") == 2
    said = capsys.readouterr().err
    assert "meta-llama/Llama-2-7b-hf' was not downloaded before and the Hub cannot be reached" in said
    assert len(said.splitlines()) == 1


@pytest.mark.usefixtures("small_machine")
def test_what_cannot_fit_is_refused_with_the_numbers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", *HUGE) == 2
    told = capsys.readouterr()
    assert "does not fit" in told.out
    assert "the weights alone do not fit" in told.err
    assert "2.0 GB of free memory" in told.err
    assert len(told.err.splitlines()) == 1


@pytest.mark.usefixtures("small_machine")
def test_a_run_that_cannot_fit_does_not_start(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*HUGE, "hydra.run.dir=mine") == 2
    assert "the weights alone do not fit" in capsys.readouterr().err
    assert left_behind(tmp_path) <= {"outputs"}


@pytest.mark.usefixtures("small_machine")
def test_a_sweep_with_one_job_that_cannot_fit_does_not_start(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-m", *HUGE[:1], "model.intermediate_size=256,40000000", "hydra.sweep.dir=mine") == 2
    said = capsys.readouterr().err
    assert "intermediate_size=40000000: this needs about" in said
    assert "intermediate_size=256:" not in said
    assert not list(tmp_path.rglob("epochs.jsonl"))


def test_its_help_tells_the_switches(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--help") == 0
    said = capsys.readouterr().out
    assert all(switch in said for switch in ("--time", "--rows", "--json", "training.check_memory=false"))
