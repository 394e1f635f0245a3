"""Full fine-tuning: every weight moves, at one rate, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from datasets import Dataset as Table

from llama_experiments.data.rows import Rows
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.base import Technique


def test_every_weight_moves_at_one_rate(model_folder: Path) -> None:
    for task in (SequenceClassification(labels=["bad", "good"]), TextGeneration()):
        model = Checkpoint(checkpoint=str(model_folder)).load(task, seed=0).model
        (group,) = Technique().parameter_groups(model)
        assert [id(parameter) for parameter in group.parameters] == [
            id(parameter) for parameter in model.parameters()
        ]
        assert all(parameter.requires_grad for parameter in group.parameters)
        assert group.multiplier == 1.0


def test_what_is_frozen_is_in_no_group(model_folder: Path) -> None:
    model = Checkpoint(checkpoint=str(model_folder)).load(TextGeneration(), seed=0).model
    model.model.layers[0].requires_grad_(False)
    (group,) = Technique().parameter_groups(model)
    frozen = {id(parameter) for parameter in model.model.layers[0].parameters()}
    assert not frozen & {id(parameter) for parameter in group.parameters}
    assert len(group.parameters) == len(list(model.parameters())) - len(frozen)
    model.requires_grad_(False)
    assert Technique().parameter_groups(model) == []


def test_task_and_model_stay_as_they_are(model_folder: Path) -> None:
    task = SequenceClassification(labels=["bad", "good"])
    rows = Rows("train", "a.csv", Table.from_dict({"text": ["a"], "label": [0]}), np.array([1]), {})
    assert Technique().adapt_task(task, {"train": rows}, 0) is task
    model = Checkpoint(checkpoint=str(model_folder)).load(task, seed=0).model
    assert Technique().adapt_model(model, 0) is model
