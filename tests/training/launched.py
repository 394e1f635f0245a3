"""Commands in one process or several, and what they leave."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import read_journal
from tests.conftest import ROOT, sentences, write_table

INTERRUPTED = Path(__file__).parent / "interrupted"
ALONE = [sys.executable, "-m", "llama_experiments"]
IN_TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *ALONE[1:]]


@dataclasses.dataclass(frozen=True)
class Done:
    """A command that has ended: what it printed, the folder of all its runs, and the one run."""

    output: str
    errors: str
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

    def run(
        self, launcher: list[str], outputs: str, *overrides: str, interrupt: str | None = None, status: int = 0
    ) -> Done:
        """Run to the end, into a dated folder of `outputs`; `interrupt` is told in interrupted/sitecustomize.py."""
        data = [f"dataset.{part}={self.folder / part}.csv" for part in ("train", "validation")]
        model = ["model=local", f"model.checkpoint={self.model}", "model.learning_rate=1e-3"]
        arguments = [*model, *data, *overrides, "training.epochs=2", f"output_dir={outputs}"]
        process = self.start([*launcher, *arguments], interrupt)
        try:
            output, errors = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.terminate()  # a launcher ends its processes
            process.communicate()
            raise
        assert process.returncode == status, errors
        return self.left(outputs, output, errors)

    def start(self, command: list[str], interrupt: str | None = None) -> subprocess.Popen[str]:
        """Start any command there; its output is to be read."""
        path = [str(ROOT), *([str(INTERRUPTED)] if interrupt else [])]
        environment = {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
        environment |= {"INTERRUPT": interrupt} if interrupt else {}
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, **environment},
        )

    def left(self, outputs: str, output: str = "", errors: str = "") -> Done:
        """The one run in `outputs`."""
        (run,) = [path.parent for path in (self.folder / outputs).glob("*/*/epochs.jsonl")]
        return Done(output, errors, self.folder / outputs, RunFolder(run))

    def resumed(self, done: Done, *overrides: str) -> Done:
        """Go on with a run, to its end."""
        process = self.start([*ALONE, "resume", str(done.run.path), *overrides])
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        return dataclasses.replace(done, output=output, errors=errors)


def make_commands(folder: Path, model: Path) -> Commands:
    # Of the last step's one example a second process has none, and of the evaluation's one batch neither.
    write_table(folder / "train.csv", [*sentences(49)])
    write_table(folder / "validation.csv", [*sentences(25, start=100)])
    return Commands(folder, model)


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
