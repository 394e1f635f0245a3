"""A command that a scheduler gives again, two that meet, and a clock that is set while runs go on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.torture.killed import At, command
from tests.torture.runs import Runs, killed


@pytest.fixture
def runs(model_folder: Path, tmp_path: Path) -> Runs:
    return Runs(tmp_path, model_folder)


def said_since(runs: Runs, before: int) -> str:
    return runs.said()[before:]


def test_a_sweep_goes_on_where_it_was_killed(runs: Runs) -> None:
    """Given again without a word about its folder."""

    def start(*signals: At) -> int:
        others = ["-m", "seed=1,2", "training.resume=auto", "hydra.run.dir=unused"]
        return runs.start("unused", *signals, others=others)

    assert killed(start(At("step", 20)))  # in the second job
    (sweep,) = (path.parent for path in (runs.folder / "o").glob("*/*/sweep.json"))
    assert start() == 0, runs.said()
    assert [path.parent for path in (runs.folder / "o").glob("*/*/sweep.json")] == [sweep]
    said = runs.said()
    assert "going on with the sweep of this command that was not finished" in said
    assert "1 of 2 jobs have their result already" in said
    first, second = sorted(path.parent for path in sweep.glob("*/steps.jsonl"))
    assert not (first / "resumes.jsonl").exists()
    (resumed,) = map(json.loads, (second / "resumes.jsonl").read_text().splitlines())
    assert resumed["step"] == 4
    # What has finished is not gone on with.
    assert start() == 0, runs.said()
    assert len([*(runs.folder / "o").glob("*/*/sweep.json")]) == 2


def test_a_command_with_other_settings_is_another_run(runs: Runs) -> None:
    def start(number: int, *others: str) -> list[str]:
        place = f"hydra.run.dir={runs.folder}/o/a/requeued-{number}"
        runs.start("unused", At("step", 5), others=["training.resume=auto", place, *others])
        return sorted(path.name for path in (runs.folder / "o" / "a").glob("requeued-*"))

    assert len(start(1)) == 1
    assert len(start(2, "training.learning_rate=2e-3")) == 2
    assert len(start(3, "seed=1")) == 3
    # What changes no number is no other run.
    assert len(start(4, "seed=1", "training.checkpoint.keep=1", "tracker.every_steps=7")) == 3
    resumed = runs.folder / "o" / "a" / "requeued-3" / "resumes.jsonl"
    assert len(resumed.read_text().splitlines()) == 1


def test_of_two_that_resume_a_run_the_second_is_refused(runs: Runs) -> None:
    assert killed(runs.start("one", At("step", 5)))
    run = runs.run("one")
    line = [sys.executable, "-m", "llama_experiments", "resume", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            line, cwd=runs.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=240)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], told
    refused = told[[process.returncode for process in both].index(2)]
    assert "Traceback" not in refused
    # The first may even have ended before the second looked.
    endings = ("is running in another process", "is being written by another process", "there is nothing to resume")
    assert any(ending in refused.splitlines()[-1] for ending in endings)
    steps = [json.loads(step)["step"] for step in (run / "steps.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 16))
    assert len((run / "resumes.jsonl").read_text().splitlines()) == 1


@dataclasses.dataclass(frozen=True)
class ClockSet(At):
    """The clock of the day is set."""

    signal: signal.Signals = signal.SIGUSR2  # never sent
    by: float = 0.0

    def __str__(self) -> str:
        return f"{self.moment}-{self.call}-{self.by:+.0f}-s"

    def come(self) -> None:
        """For whoever asks this process."""
        now = time.time
        time.time = lambda: now() + self.by


HOUR = 3600.0


@pytest.mark.parametrize("by", [-HOUR, 24 * HOUR])
def test_a_clock_that_is_set_changes_no_duration(by: float, runs: Runs) -> None:
    began = time.monotonic()
    assert runs.start("set", ClockSet("step", 4, by=by)) == 0, runs.said()
    took = time.monotonic() - began
    run = runs.run("set")
    assert 0 < json.loads((run / "state.json").read_text())["seconds"] < took
    assert 0 < json.loads((run / "result.json").read_text())["seconds"] < took
    for file in ("steps.jsonl", "epochs.jsonl"):
        assert all(0 <= json.loads(line)["seconds"] < took for line in (run / file).read_text().splitlines())
    before = len(runs.said())
    assert command(runs.folder, ["runs", "o"]) == 0
    listed = said_since(runs, before)
    assert "finished" in listed
    assert " -" not in listed.splitlines()[-1].replace("--", "")


def test_the_newest_is_gone_on_with_whatever_its_folder_is_called(runs: Runs) -> None:
    """The names that a clock gives go back by an hour every autumn."""

    def start(name: str, *others: str) -> None:
        runs.start("unused", At("step", 5), others=[f"hydra.run.dir={runs.folder}/o/a/{name}", *others])

    start("02-59-59")
    start("02-10-00")
    start("02-30-00", "training.resume=auto")
    assert not runs.run("02-30-00").exists()
    assert (runs.run("02-10-00") / "resumes.jsonl").exists()
    assert not (runs.run("02-59-59") / "resumes.jsonl").exists()
