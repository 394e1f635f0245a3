"""The one module that Accelerate prepares: model and task together, so that wrapping sees every gradient."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from llama_experiments.data.examples import Batch
from llama_experiments.tasks.base import Output, Task


class TaskModel(torch.nn.Module):
    """Trunk, pooling, head and loss in one forward pass."""

    def __init__(self, model: PreTrainedModel, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Batch) -> Output:
        return self.task.output(self.model, batch)
