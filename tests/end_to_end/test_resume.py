"""A run that is killed anywhere goes on as if nothing had happened, to the bit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from llama_experiments.runs.state import Held
from tests.torture.killed import At, left_by
from tests.torture.runs import Runs, killed


@pytest.fixture(scope="module")
def runs(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    made = Runs(tmp_path_factory.mktemp("resumed"), model_folder)
    assert made.start("whole") == 0, made.said()
    return made


@pytest.fixture(scope="module")
def whole(runs: Runs) -> dict[str, Any]:
    return left_by(runs.run("whole"), runs.uri)


KILLS = [
    At("start", 1),
    At("step", 8),
    At("torn", 5),
    At("checkpoint", 3),
    At("renaming", 12),
    At("evaluation", 8),  # of 12, or of 14 in a process that has not probed this model yet
    At("epoch", 2),
    At("model", 2),
    At("tracker", 1),
    At("finish", 1),
    At("closing", 1),
]


def test_a_run_killed_after_its_end_has_finished(runs: Runs, whole: dict[str, Any]) -> None:
    """Its checkpoints are still there; who asks to resume it is told, and they go."""
    assert killed(runs.start("late", At("finished", 1))), runs.said()
    assert (runs.run("late") / "checkpoints").is_dir()
    assert runs.resume("late") != 0
    assert "has finished: there is nothing to resume" in runs.said()
    assert left_by(runs.run("late"), runs.uri) == whole


@pytest.mark.parametrize("at", KILLS, ids=str)
def test_a_killed_run_goes_on_to_the_bit(at: At, runs: Runs, whole: dict[str, Any]) -> None:
    assert killed(runs.start(str(at), at)), runs.said()
    assert runs.resume(str(at)) == 0, runs.said()
    assert left_by(runs.run(str(at)), runs.uri) == whole


def test_a_run_may_be_killed_again_and_again(runs: Runs, whole: dict[str, Any]) -> None:
    runs.start("often", At("step", 3))
    for at in [At("step", 4), At("checkpoint", 1), At("evaluation", 6), At("step", 3)]:
        assert killed(runs.resume("often", at)), runs.said()
    assert runs.resume("often") == 0, runs.said()
    assert left_by(runs.run("often"), runs.uri) == whole
    assert len((runs.run("often") / "resumes.jsonl").read_text().splitlines()) == 5


STOPS = [
    At("step", 7, signal.SIGTERM),
    At("step", 10, signal.SIGINT),  # the last of an epoch
    At("evaluation", 8, signal.SIGUSR1),
    At("model", 1, signal.SIGUSR2),
]


@pytest.mark.parametrize("at", STOPS, ids=str)
def test_a_signal_stops_a_run_after_its_step(at: At, runs: Runs, whole: dict[str, Any]) -> None:
    status = runs.start(str(at), at, others=["training.checkpoint.every_steps=null"])
    assert os.waitstatus_to_exitcode(status) == 128 + at.signal, runs.said()
    run = runs.run(str(at))
    assert json.loads((run / "state.json").read_text())["state"] == "stopped"
    (checkpoint,) = (run / "checkpoints").iterdir()
    steps = (run / "steps.jsonl").read_text().splitlines()
    assert f"step-{len(steps):08}" in checkpoint.name
    said = runs.said()
    assert f"{at.signal.name}: stopping after this step" in said
    assert f"stopped by {at.signal.name} after step {len(steps)} of 15; to go on: python -m llama" in said
    assert runs.resume(str(at)) == 0, runs.said()
    assert left_by(run, runs.uri) == whole


def test_a_second_signal_stops_at_once(runs: Runs, whole: dict[str, Any]) -> None:
    """In the middle of writing a checkpoint: the one before it is whole."""
    both = At("step", 7, signal.SIGTERM), At("checkpoint", 7, signal.SIGTERM)
    status = runs.start("twice", *both)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM, runs.said()
    assert sorted(path.name for path in (runs.run("twice") / "checkpoints").iterdir())[-1] == "step-00000006"
    assert runs.resume("twice") == 0, runs.said()
    assert left_by(runs.run("twice"), runs.uri) == whole


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_passed_over(file: str, runs: Runs, whole: dict[str, Any]) -> None:
    name = f"damaged-{file}"
    runs.start(name, At("step", 9))
    newest = sorted((runs.run(name) / "checkpoints").iterdir())[-1]
    content = bytearray((newest / file).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / file).write_bytes(content)
    assert runs.resume(name) == 0, runs.said()
    assert f"the checkpoint {newest.name} is damaged" in runs.said()
    assert left_by(runs.run(name), runs.uri) == whole


def test_what_cannot_be_resumed_is_told(runs: Runs) -> None:
    def refused(sentence: str, *others: str) -> None:
        before = len(runs.said())
        assert os.waitstatus_to_exitcode(runs.resume("refused", others=others)) == 2
        assert sentence in runs.said()[before:]
        assert "Traceback" not in runs.said()[before:]

    refused("there is no run")
    runs.start("refused", At("step", 9))
    refused("training.learning_rate: a run that is resumed keeps its settings", "training.learning_rate=1")
    held = Held(runs.run("refused"))
    refused("is running in another process")
    held.release()
    train = runs.folder / "train.csv"
    content = train.read_text()
    train.write_text(content.replace("Number 7:", "Number 77:"))
    refused("cannot be resumed, since its train data: 40 rows of")
    train.write_text(content)
    assert runs.resume("refused", others=["training.checkpoint.keep=1"]) == 0
    refused("has finished: there is nothing to resume")


def test_the_same_command_goes_on_where_it_was_stopped(runs: Runs, whole: dict[str, Any]) -> None:
    """As a scheduler gives it again, without a word about the folder."""
    requeued = ["training.resume=auto", "hydra.run.dir=${output_dir}/a/requeued-${now:%H-%M-%S}"]

    def folders() -> list[Path]:
        return sorted((runs.folder / "o" / "a").glob("requeued-*"))

    for expected in ("killed", "finished"):
        status = runs.start("unused", *([At("step", 9)] if expected == "killed" else []), others=requeued)
        assert killed(status) if expected == "killed" else status == 0, runs.said()
        assert len(folders()) == 1, runs.said()
    assert left_by(folders()[0], runs.uri) == whole
    runs.start("unused", others=requeued)
    assert len(folders()) == 2, runs.said()  # what has finished is not gone on with


def test_the_same_command_goes_on_in_its_own_folder(runs: Runs, whole: dict[str, Any]) -> None:
    """Wherever that is: a script for a scheduler often names it."""
    folder = runs.folder / "elsewhere" / "run"
    own = ["training.resume=auto", f"hydra.run.dir={folder}"]
    assert killed(runs.start("unused", At("step", 9), others=own)), runs.said()
    assert runs.start("unused", others=own) == 0, runs.said()
    assert left_by(folder, runs.uri) == whole
