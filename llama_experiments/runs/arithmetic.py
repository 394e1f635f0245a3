"""What a run's settings left open of its arithmetic and the run recorded: a run made again does not choose anew."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_experiments.experiment import Experiment
    from llama_experiments.runs.saved import SavedRun


def recorded_arithmetic(run: SavedRun, precision: str, attention: str) -> dict[str, str]:
    """Of these two settings those that are `auto`, as the run decided them: `{setting: value}`."""
    if not run.folder.environment.exists():  # it did not come so far
        return {}
    environment = run.environment()
    found: dict[str, str] = {}
    decided = environment.get("device", {}).get("precision")
    if precision == "auto" and decided is not None:
        found["training.precision"] = decided
    # Our own kernel has no name among the settings: auto finds it again wherever it can be.
    if attention == "auto" and environment.get("model", {}).get("attention") == "sdpa":
        found["model.attention"] = "sdpa"
    return found


def as_recorded(experiment: Experiment, run: SavedRun) -> Experiment:
    """The experiment in the arithmetic that the run had, where its settings leave it open."""
    training, model = experiment.training, experiment.model
    found = recorded_arithmetic(run, training.precision, model.attention)
    if "training.precision" in found:
        training = dataclasses.replace(training, precision=found["training.precision"])  # type: ignore[arg-type]
    if "model.attention" in found:
        model = dataclasses.replace(model, attention="sdpa")
    return dataclasses.replace(experiment, training=training, model=model)
