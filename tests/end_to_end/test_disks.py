"""A disk that is full, that limits files or that can only be read: a sentence, and a run that goes on later."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.torture.killed import At, Limited, command, left_by
from tests.torture.runs import Runs

LIMITED = "a file would be larger than the system allows (ulimit -f); raise the limit"
FULL = "the disk is full ("


@pytest.fixture(scope="module")
def runs(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    made = Runs(tmp_path_factory.mktemp("disks"), model_folder)
    assert made.start("whole") == 0, made.said()
    return made


@pytest.fixture(scope="module")
def whole(runs: Runs) -> dict[str, Any]:
    return left_by(runs.run("whole"), runs.uri)


@dataclasses.dataclass(frozen=True)
class NoRoomInJournal(At):
    """The disk takes no further record."""

    signal: signal.Signals = signal.SIGUSR2  # never sent

    def come(self) -> None:
        """From now on."""
        from llama_experiments.runs import journal

        append = journal._append

        def refused(file: Any, record: dict[str, Any]) -> None:
            with Path("/dev/full").open("w", encoding="utf-8") as full:
                append(full, record)

        journal._append = refused


TROUBLES = [
    (NoRoomInJournal("step", 5), FULL),
    (NoRoomInJournal("epoch", 2), FULL),
    (Limited("checkpoint", 3, size=60_000), LIMITED),
    (Limited("model", 2, size=60_000), LIMITED),
    (Limited("finish", 1, size=1_000), LIMITED),
]


@pytest.mark.parametrize(("at", "why"), TROUBLES, ids=str)
def test_a_run_that_a_disk_ends_says_so_and_goes_on_later(
    at: At, why: str, runs: Runs, whole: dict[str, Any]
) -> None:
    log = runs.folder / "log.txt"
    log.unlink()
    status = runs.start(str(at), at)
    state = json.loads((runs.run(str(at)) / "state.json").read_text())
    if isinstance(at, Limited) and at.size < 10_000:  # nor could what the run says be written
        assert os.waitstatus_to_exitcode(status) != 0
        assert state["state"] in ("failed", "running")
    else:
        assert os.waitstatus_to_exitcode(status) == 2, runs.said()
        said = runs.said()
        assert "Traceback" not in said
        assert f"o/a/{at}" in (last := said.splitlines()[-1])
        assert why in last
        assert f"then `python -m llama_experiments resume o/a/{at}` goes on" in last
        assert state["state"] == "failed"
        assert state["reason"] == last
    assert not (runs.run(str(at)) / "traceback.txt").exists()
    assert runs.resume(str(at)) == 0, runs.said()
    assert left_by(runs.run(str(at)), runs.uri) == whole


def test_a_store_that_is_full_costs_the_run_nothing(runs: Runs, whole: dict[str, Any]) -> None:
    (runs.folder / "log.txt").unlink()
    without_large_files = ["training.checkpoint.every_steps=null", "training.save_model=none"]
    assert runs.start("mirror", Limited("start", 1, size=400_000), others=without_large_files) == 0, runs.said()
    said = runs.said()
    assert "Traceback" not in said
    assert "`python -m llama_experiments sync o/a/mirror` brings it there later" in said
    assert command(runs.folder, ["sync", str(runs.run("mirror"))]) == 0, runs.said()
    left = left_by(runs.run("mirror"), runs.uri)
    for same in ("steps", "epochs", "predictions", "points"):
        assert left[same] == whole[same]


def test_a_place_that_takes_no_files_is_named_before_anything_starts(runs: Runs) -> None:
    (runs.folder / "log.txt").unlink()
    status = runs.start("nowhere", others=["hydra.run.dir=/proc/llama"])
    assert os.waitstatus_to_exitcode(status) == 2
    assert runs.said().startswith("hydra.run.dir: no folder can be made in /proc: ")
