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

    def train(self, mode: bool = True) -> TaskModel:
        """Training mode for what may move; what is frozen stays in evaluation mode, so that it computes one thing."""
        super().train(mode)
        for module in self.model.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def forward(self, batch: Batch) -> Output:
        return self.task.output(self.model, batch)
