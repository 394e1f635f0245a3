"""Mistakes in a run of several processes: one sentence, from whichever process, and no traceback."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import write_table
from tests.training.launched import ALONE, IN_TWO, SENTIMENT, Commands

LAUNCHERS = {"ours": [*ALONE, "training.processes=2"], "torchrun": IN_TWO}
OURS = "/llama_experiments/"  # in a traceback of a process; torchrun prints one of its own


def told(commands: Commands, command: list[str], outputs: str) -> tuple[int, str, str]:
    model = ["model=local", f"model.checkpoint={commands.model}", "model.learning_rate=1e-3", "task.max_length=48"]
    process = commands.start([*command, *model, f"output_dir={outputs}"])
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_wrong_setting(launcher: str, commands: Commands) -> None:
    status, _, errors = told(commands, [*LAUNCHERS[launcher], "training.epohcs=1"], "setting")
    assert errors.count("did you mean 'epochs'?") == 1
    assert OURS not in errors
    assert status == (2 if launcher == "ours" else 1)
    assert not (commands.folder / "setting").exists()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_mistake_in_the_data(launcher: str, commands: Commands) -> None:
    """Which the first process finds, while the others wait for it."""
    write_table(commands.folder / "broken.csv", [("good", "positive"), ("bad", "negative", "more")])
    data = ["dataset=local_sentiment", f"dataset.train={commands.folder / 'broken.csv'}"]
    status, _, errors = told(commands, [*LAUNCHERS[launcher], *data], f"data-{launcher}")
    assert errors.count("broken.csv: line 3 has 3 fields, but the header has 2") == 1, errors
    assert "without a word" not in errors
    assert 'File "' + str(commands.folder) not in errors
    assert OURS + "training" not in errors
    assert status == (2 if launcher == "ours" else 1)


def test_a_mistake_of_another_process_than_the_first(commands: Commands) -> None:
    """It leaves word, and the first, which sees no more than that it is gone, tells it."""
    done = commands.run(ALONE, "other", *SENTIMENT, "training.processes=2", interrupt="1:3:MISTAKE", status=1)
    assert done.errors.strip().splitlines()[-1] == "training.batch_size: a mistake of process 2", done.errors
    assert "Traceback" not in done.errors


def test_accelerate_that_starts_one_process_for_two(commands: Commands) -> None:
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"]
    status, _, errors = told(commands, [*launcher, "-m", "llama_experiments"], "accelerate")
    assert status == 1
    assert errors.count("asked for 2 processes and has started one") == 1
    assert not (commands.folder / "accelerate").exists()
