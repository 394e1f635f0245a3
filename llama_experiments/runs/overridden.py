"""A run's config with settings that were given other values since."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llama_experiments.command_line.composition import Composition, compose_command
from llama_experiments.config import MISSING
from llama_experiments.runs.saved import SavedRun


def base_given(overrides: Sequence[str]) -> str:
    """The override that tells where the model is that training started from."""
    keys = (word.lstrip("+~").partition("=")[0] for word in overrides)
    return next((key for key in keys if key in ("model.checkpoint", "model.revision")), "")


def with_overrides(run: SavedRun, overrides: Sequence[str]) -> Composition:
    """A run's config with other values; `dataset=...` takes another data set whole, as a run's command line does.

    Raises:
        UserError: an override of something that is not there.
    """
    chosen = [word for word in overrides if word.startswith("dataset=")]
    if not chosen:
        return run.composition(overrides)
    of_dataset = [word for word in overrides if word.lstrip("+~").startswith(("dataset=", "dataset."))]
    composition = run.composition([word for word in overrides if word not in of_dataset])
    other = compose_command(of_dataset)
    dataset = other.tree["dataset"]
    if dataset.get("train") == MISSING:  # of which an evaluation needs none
        given = [dataset.get(part) for part in ("validation", "test")]
        dataset["train"] = next((value for value in given if value not in (None, MISSING)), MISSING)
    return dataclasses.replace(other, tree={**composition.tree, "dataset": dataset})
