"""Learning-rate adjustment: everything that may move does, the lower the slower (Howard and Ruder 2018)."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

from llama_experiments.errors import check_settings
from llama_experiments.techniques.base import ParameterGroup, Technique
from llama_experiments.techniques.parts import EMBEDDINGS, HEAD, NORM, layer_of, number_of_layers, part_of, top_down

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningRate(Technique):
    """Each layer's rate is that of the layer above, times `layer_decay`; the head has a multiplier of its own.

    The final norm and the top layer move at training.learning_rate, and the embeddings are a layer below the lowest.
    An output matrix that is tied to the embeddings is the embeddings, and moves as slowly as they do: such a language
    model has no head to multiply. One that is not tied is a head, although it is not new.
    """

    name: ClassVar[str] = "learning-rate adjustment"

    layer_decay: float = 1.0  # a layer's rate by that of the layer above; 1: all alike
    head_multiplier: float = 1.0  # the head's rate by training.learning_rate

    def __post_init__(self) -> None:
        head = self.head_multiplier
        check_settings(
            ("layer_decay", 0 < self.layer_decay <= 1, f"must be above 0 and at most 1, not {self.layer_decay:g}"),
            ("head_multiplier", 0 < head < math.inf, f"must be a positive number, not {head:g}"),
        )

    def parameter_groups(self, model: PreTrainedModel) -> list[ParameterGroup]:
        """A group for each part of the model of which anything may move, from the head down."""
        layers = number_of_layers(name for name, _ in model.named_parameters())
        parts: dict[str, list[torch.nn.Parameter]] = {}
        multipliers: dict[str, float] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parts.setdefault(part_of(name), []).append(parameter)
                multipliers[part_of(name)] = self._multiplier(name, layers)
        return [ParameterGroup(part, parts[part], multipliers[part]) for part in top_down(parts)]

    def _multiplier(self, name: str, layers: int) -> float:
        layer = layer_of(name)
        if layer is not None:
            return self.layer_decay ** (layers - 1 - layer)
        return {HEAD: self.head_multiplier, NORM: 1.0, EMBEDDINGS: self.layer_decay**layers}[part_of(name)]
