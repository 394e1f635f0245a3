"""Steps and epochs made up, and a run of seconds made in this process."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

from llama_experiments.cli import main
from llama_experiments.training.evaluation import Evaluation
from llama_experiments.training.loop import Epoch
from llama_experiments.training.step import Step


def made_step(number: int, epoch: int = 1, loss: float = 4.0, **others: Any) -> Step:
    """A step of eight examples and a hundred tokens in a tenth of a second."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "step": number,
        "steps": 6,
        "loss": loss,
        "count": 8,
        "tokens": 100,
        "examples": 8,
        "examples_hash": f"{number:016x}",
        "learning_rate": 1e-3,
        "gradient_norm": 2.5,
        "micro_batch_size": 8,
        "seconds": 0.1,
    }
    return Step(**(values | others))


def made_epoch(
    number: int, train: float | None, evaluation: float | None, metrics: dict[str, float] | None = None
) -> Epoch:
    """An epoch with these losses; without an evaluation loss it was not evaluated."""
    told = Evaluation(evaluation, 4, metrics or {}, {"loss": np.zeros(4)}) if evaluation is not None else None
    return Epoch(number, train, told, 1e-3 if number else None, 24 * bool(number), 300 * bool(number), 1.5)


def record(epoch: int, train: Any, evaluation: Any, metrics: dict[str, Any] | None = None) -> dict[str, Any]:
    """An epoch as the journal has it."""
    return {
        "epoch": epoch,
        "train_loss": train,
        "eval_loss": evaluation,
        "items": None if evaluation is None else 4,
        "metrics": metrics or {},
        "learning_rate": 1e-3 if epoch else None,
        "examples": 24 * bool(epoch),
        "tokens": 300 * bool(epoch),
        "seconds": 1.5,
        "time": 1_700_000_000_000 + epoch,
    }


def run_command(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a command line in this process, in `folder`; returns its status and what it wrote to stdout and stderr."""
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        patch.setattr("sys.argv", ["llama_experiments"])
        for name, value in {"HYDRA_FULL_ERROR": "1", **environment}.items():
            patch.setenv(name, value)
        GlobalHydra.instance().clear()
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()
