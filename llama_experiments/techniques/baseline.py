"""The baseline: no model is asked, the answer is the likeliest without a look at the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from llama_experiments.techniques.base import Save, Technique

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(Technique):
    """The larger class, any span, the tokens' shares: what every technique has to beat."""

    name: ClassVar[str] = "baseline"
    trains: ClassVar[bool] = False

    def adapt_task(self, task: Task, rows: Mapping[str, Rows], seed: int) -> Task:
        return task.guessed()

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        return model.requires_grad_(False)

    def saved(self) -> dict[str, Save]:
        return {}
