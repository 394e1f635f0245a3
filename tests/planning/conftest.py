"""Experiments that are planned, and rows of any length."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llama_experiments.command_line.composition import compose_command
from llama_experiments.command_line.launching import build_experiment
from llama_experiments.experiment import Experiment
from llama_experiments.planning.memory import Memory, estimate_memory
from llama_experiments.planning.shape import model_shape
from llama_experiments.planning.skeleton import stand_in_task
from llama_experiments.planning.work import Lengths, asked_task

Made = Callable[..., Experiment]
Estimate = Callable[..., Memory]


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A composed and checked experiment."""

    def compose(*overrides: str) -> Experiment:
        folder = tmp_path_factory.mktemp("outputs")
        experiment = build_experiment(compose_command([*overrides, f"output_dir={folder}"]))
        assert isinstance(experiment, Experiment)
        return experiment

    return compose


@pytest.fixture
def estimate(made: Made) -> Estimate:
    """The memory of an experiment whose longest rows have so many tokens."""

    def estimated(*overrides: str, length: int = 64, kind: str = "cpu") -> Memory:
        experiment = made("model=embedded_from_scratch", *overrides)
        task = stand_in_task(asked_task(experiment), experiment.dataset.labels)
        lengths = Lengths(length, length, 1000, 1000)
        return estimate_memory(experiment, model_shape(experiment.model), task, lengths, kind)

    return estimated
