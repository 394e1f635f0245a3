"""Batches of given tokens, and a model with either head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import PreTrainedModel

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.base import Output, Task
from tests.training.conftest import one_thread  # noqa: F401  a fixture


def batch_of(rows: list[list[int]], labels: list[int] | None = None) -> dict[str, torch.Tensor]:
    """Rows of tokens as the loop sees them."""
    columns = {"input_ids": rows, "row": list(range(len(rows))), "count": [max(1, len(row) - 1) for row in rows]}
    if labels is not None:
        columns |= {"label": labels, "count": [1] * len(rows)}
    return Examples(pa.table(columns)).batch(np.arange(len(rows)))


def examples_of(rows: list[list[int]]) -> Examples:
    """Examples of rows that are nothing but tokens."""
    table = pa.table({"input_ids": rows, "row": list(range(len(rows))), "count": [1] * len(rows)})
    texts = datasets.Dataset.from_dict({"text": [f"text {number}" for number in range(len(rows))]})
    return Examples(table, Rows("validation", "rows.csv", texts, np.arange(len(rows)) + 1, {}))


def found(examples: Examples) -> dict[str, np.ndarray]:
    """What an evaluation adds to a task's predictions."""
    return {"row": examples.fixed["row"], "count": examples.counts}


def with_padding_of(token: int, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with another token where its padding is, and one more column of it."""
    ids = torch.nn.functional.pad(batch["input_ids"], (0, 1))
    padding = torch.arange(ids.shape[1]) >= batch["lengths"][:, None]
    return {**batch, "input_ids": ids.masked_fill(padding, token)}


def gradients(task: Task, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The gradient of a pass, by parameter."""
    model.zero_grad()
    task.output(model, batch).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def no_gradient(task: Task, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> Output:
    with torch.no_grad():
        return task.output(model, batch)


Load = Callable[[Task], PreTrainedModel]


@pytest.fixture
def load(model_folder: Path) -> Load:
    """The tiny model with a task's head."""
    return lambda task: Checkpoint(checkpoint=str(model_folder)).load(task, seed=0).model
