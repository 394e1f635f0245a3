"""A process of several that dies, and signals to all: the run ends soon, says why, and goes on with any number."""

from __future__ import annotations

import signal
import time

import pytest

from llama_experiments.runs.journal import read_journal
from llama_experiments.runs.state import State, read_state
from tests.training.launched import ALONE, SENTIMENT, Commands, Done, assert_same_numbers

IN_TWO = "training.processes=2"
OFTEN = "training.checkpoint.every_steps=2"
KILLED = 1  # the exit status of a run of which a process has died


def ending(done: Done) -> State:
    """How the run says that it ended."""
    state = read_state(done.run.path)
    assert state is not None
    return state


def in_mlflow(done: Done) -> list[tuple[int, float]]:
    """The evaluation losses of the one run there."""
    from llama_experiments.runs.tracker import connect

    client = connect(f"sqlite:///{done.outputs / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, "eval_loss"))


@pytest.mark.parametrize(("rank", "then"), [(1, 1), (0, 2)])
def test_a_process_that_dies_ends_all_and_the_run_goes_on(
    rank: int, then: int, commands: Commands, alone: Done
) -> None:
    """In one process, or in two again: in the same folder and the same run of MLflow."""
    started = time.monotonic()
    died = commands.run(
        ALONE, f"died-{rank}", *SENTIMENT, IN_TWO, OFTEN, interrupt=f"{rank}:6:SIGKILL", status=KILLED
    )
    assert time.monotonic() - started < 60 + 60  # a minute, and what the start takes on a busy machine
    assert f"process {rank + 1} of 2 was ended by SIGKILL, and the run with it" in died.errors
    assert "Traceback" not in died.errors
    assert len(died.steps) == 5
    if rank:  # the first is there to say so
        assert "another process of the run has ended without a word" in ending(died).reason
    done = commands.resumed(died, f"training.processes={then}")
    assert "going on from step 4" in done.output
    assert_same_numbers(alone, done)
    assert in_mlflow(done) == [(record["epoch"], record["eval_loss"]) for record in done.epochs]


def test_a_run_of_one_process_goes_on_in_two(commands: Commands, alone: Done) -> None:
    died = commands.run(ALONE, "one", *SENTIMENT, OFTEN, interrupt="0:10:SIGKILL", status=-signal.SIGKILL)
    assert ending(died).state == "killed"
    done = commands.resumed(died, IN_TWO)
    assert "going on from step 8" in done.output
    assert_same_numbers(alone, done)


def test_a_signal_stops_all_after_the_same_step(commands: Commands, alone: Done) -> None:
    """Sent to the process that people see, or that a scheduler has started."""
    stopped = commands.run(
        ALONE, "stopped", *SENTIMENT, IN_TWO, interrupt="1:5:SIGTERM:parent", status=128 + signal.SIGTERM
    )
    assert stopped.errors.count("SIGTERM: stopping after this step") == 1
    assert ending(stopped).state == "stopped"
    assert [path.name for path in stopped.run.checkpoints.iterdir()] == ["step-00000005"]
    done = commands.resumed(stopped, "training.processes=1")
    assert "going on from step 5" in done.output
    assert_same_numbers(alone, done)
    (resume,) = read_journal(done.run.resumes)
    assert resume["step"] == 5
