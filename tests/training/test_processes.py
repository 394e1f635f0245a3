"""Two processes on CPUs give the numbers of one, and leave what one leaves."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import read_journal
from tests.conftest import ROOT, sentences, write_table

ALONE = [sys.executable, "-m", "llama_experiments"]
IN_TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *ALONE[1:]]


@dataclasses.dataclass(frozen=True)
class Done:
    """A finished command: what it printed, the folder of all its runs, and the one run."""

    output: str
    outputs: Path
    run: RunFolder

    @property
    def steps(self) -> list[dict[str, Any]]:
        return read_journal(self.run.steps)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        return read_journal(self.run.epochs)


@dataclasses.dataclass(frozen=True)
class Commands:
    """Commands on the tiny model and rows that two processes cannot share evenly."""

    folder: Path
    model: Path

    def run(self, launcher: list[str], outputs: str, *overrides: str) -> Done:
        """Run to the end, into a dated folder of `outputs`."""
        data = [f"dataset.{part}={self.folder / part}.csv" for part in ("train", "validation")]
        model = ["model=local", f"model.checkpoint={self.model}", "model.learning_rate=1e-3"]
        process = subprocess.Popen(
            [*launcher, *model, *data, *overrides, "training.epochs=2", f"output_dir={outputs}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        try:
            output, errors = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.terminate()  # a launcher ends its processes
            process.communicate()
            raise
        assert process.returncode == 0, errors
        (run,) = [path.parent for path in (self.folder / outputs).glob("*/*/epochs.jsonl")]
        return Done(output, self.folder / outputs, RunFolder(run))


@pytest.fixture(scope="module")
def commands(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    folder = tmp_path_factory.mktemp("processes")
    # Of the last step's one example a second process has none, and of the evaluation's one batch neither.
    write_table(folder / "train.csv", [*sentences(49)])
    write_table(folder / "validation.csv", [*sentences(25, start=100)])
    return Commands(folder, model_folder)


# With weights the processes have unlike shares of a step.
SENTIMENT = [
    "dataset=local_sentiment",
    "task.max_length=48",
    "task.class_weights={negative:3}",
    "training.micro_batch_size=3",
]
TEXT_GENERATION = [
    "task=text_generation",
    "dataset=local_text_generation",
    "task.max_length=24",
    "training.evaluation_batch_size=8",
]


@pytest.fixture(scope="module")
def alone(commands: Commands) -> Done:
    return commands.run(ALONE, "alone", *SENTIMENT)


@pytest.fixture(scope="module")
def in_two(commands: Commands) -> Done:
    return commands.run(IN_TWO, "in_two", *SENTIMENT)


def assert_same_numbers(one: Done, two: Done) -> None:
    """Ledger and counts are equal, all else is to 1e-5."""
    assert len(one.steps) == len(two.steps) > 0
    for ours, theirs in zip(one.steps, two.steps, strict=True):
        for key in ("step", "epoch", "examples_hash", "count", "tokens", "learning_rate"):
            assert ours[key] == theirs[key], key
        assert ours["loss_sum"] / ours["count"] == pytest.approx(theirs["loss_sum"] / theirs["count"], abs=1e-5)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-4)
    assert [record["epoch"] for record in one.epochs] == [record["epoch"] for record in two.epochs] == [0, 1, 2]
    for ours, theirs in zip(one.epochs, two.epochs, strict=True):
        for key in ("train_loss", "eval_loss"):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-5), key
        assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-5)
        assert (ours["examples"], ours["tokens"]) == (theirs["examples"], theirs["tokens"])
    weights, others = (load_file(done.run.model / "model.safetensors") for done in (one, two))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=1e-4, msg=name)


def test_two_processes_give_the_numbers_of_one(alone: Done, in_two: Done) -> None:
    assert [record["count"] for record in alone.steps].count(1) == 2  # an epoch's step of one example
    assert_same_numbers(alone, in_two)


def test_uneven_tokens_and_windows_give_the_numbers_of_one(commands: Commands) -> None:
    """Half of a step's examples is not half of its tokens: a mean of the processes' means would show."""
    one = commands.run(ALONE, "alone_text", *TEXT_GENERATION)
    two = commands.run(IN_TWO, "in_two_text", *TEXT_GENERATION)
    assert len({record["count"] for record in one.steps}) > 3
    assert_same_numbers(one, two)


def test_every_row_is_predicted_once(alone: Done, in_two: Done) -> None:
    ours, theirs = (pq.read_table(done.run.predictions).to_pydict() for done in (alone, in_two))
    assert theirs["row"] == ours["row"] == list(range(1, 26))
    assert theirs["prediction"] == ours["prediction"]
    assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-5)


def test_one_process_writes_and_speaks(alone: Done, in_two: Done) -> None:
    assert ", 2 processes" in in_two.output
    assert in_two.output.count("Epoch 2/2") == alone.output.count("Epoch 2/2") == 1
    assert len(in_two.output.splitlines()) == len(alone.output.splitlines())
    files = [
        sorted(str(path.relative_to(done.run.path)) for path in done.run.path.rglob("*")) for done in (alone, in_two)
    ]
    assert files[0] == files[1]
    days = [path for path in in_two.outputs.iterdir() if path.name[:2] == "20"]
    assert [path for day in days for path in day.iterdir()] == [in_two.run.path]


def test_the_tracker_has_one_run(in_two: Done) -> None:
    from llama_experiments.runs.tracker import connect

    client = connect(f"sqlite:///{in_two.outputs / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    losses = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "eval_loss")}
    assert losses == {record["epoch"]: record["eval_loss"] for record in in_two.epochs}


def test_the_same_command_again_gives_the_same_bits(commands: Commands, alone: Done) -> None:
    """In a process of its own, where nothing is left over from the first."""
    again = commands.run(ALONE, "again", *SENTIMENT)
    own = {"time", "seconds"}
    for kind in ("steps", "epochs"):
        ours, theirs = (
            [{key: value for key, value in record.items() if key not in own} for record in getattr(done, kind)]
            for done in (alone, again)
        )
        assert ours == theirs
    files = [(done.run.model / "model.safetensors").read_bytes() for done in (alone, again)]
    assert files[0] == files[1]
