"""What a technique is: what may move. The base class is full fine-tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.models.base import load_weights, save_weights

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel

    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.base import Task

Save = Callable[["PreTrainedModel", Path], None]


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
    trains: ClassVar[bool] = True  # whether anything may move

    def problems(self, shape: Mapping[str, Any] | None) -> list[tuple[str, str]]:
        """What can be seen to be wrong before anything is loaded: `[(setting, sentence), ...]`; '' is the whole.

        Args:
            shape: the model's config.json, where it can be read.
        """
        return []

    def adapt_task(self, task: Task, rows: Mapping[str, Rows], seed: int) -> Task:
        """The task as this technique poses it; whatever is drawn of `rows` (part -> rows) is drawn by `seed`."""
        return task

    def quantization(self) -> BitsAndBytesConfig | None:
        """In which form the frozen weights are loaded, where not as they are stored."""
        return None

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        """The model with what may not move frozen, or with new parts added, which `seed` initialises.

        A technique leaves frozen what it finds frozen: of several, each narrows down what the one before left open.
        """
        return model

    def parameter_groups(self, model: PreTrainedModel) -> list[ParameterGroup]:
        """What moves, in groups of one rate; empty when nothing does."""
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return [ParameterGroup("all", trainable)] if trainable else []

    def saved(self) -> dict[str, Save]:
        """What a run keeps of its best weights: the name of a folder in it -> how that is written."""
        return {"model": save_weights}

    def restore(self, model: PreTrainedModel, folder: Path) -> None:
        """Put back what `saved` wrote into the run's `folder`."""
        load_weights(model, folder / "model")
