"""What a technique is: what may move. The base class is full fine-tuning."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a rate: `multiplier` times training.learning_rate."""

    name: str
    parameters: list[torch.nn.Parameter]
    multiplier: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Technique:
    """Full fine-tuning: every weight moves at the same rate. Other techniques override what they change."""

    name: ClassVar[str] = "full fine-tuning"

    def adapt_task(self, task: Task, rows: Rows) -> Task:
        """The task as this technique poses it; `rows` are the training rows."""
        return task

    def adapt_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """The model with what may not move frozen, or with new parts added."""
        return model

    def parameter_groups(self, model: PreTrainedModel) -> list[ParameterGroup]:
        """What moves, in groups of one rate; empty when nothing does."""
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return [ParameterGroup("all", trainable)] if trainable else []
