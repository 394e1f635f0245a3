"""Layer freezing: the head moves, and of the trunk what is asked for."""

from __future__ import annotations

import dataclasses
import fnmatch
from typing import TYPE_CHECKING, ClassVar

from llama_experiments.errors import UserError, check_settings
from llama_experiments.techniques.base import Technique

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freeze(Technique):
    """Everything but the head is frozen; `trainable_layers` opens the last decoder layers and the final norm.

    Embeddings stay frozen unless a pattern names them. A language model whose head is tied to them has no head of its
    own to train: there the final norm stands for it, the last thing before the logits.
    """

    name: ClassVar[str] = "layer freezing"

    trainable_layers: int = 0  # the last so many decoder layers move
    patterns: list[str] = dataclasses.field(default_factory=list)  # further parameters that move, with wildcards

    def __post_init__(self) -> None:
        check_settings(
            ("trainable_layers", self.trainable_layers >= 0, f"must be at least 0, not {self.trainable_layers}")
        )

    def adapt_model(self, model: PreTrainedModel) -> PreTrainedModel:
        layers, norm, embeddings = model.base_model.layers, model.base_model.norm, model.get_input_embeddings()
        if self.trainable_layers > len(layers):
            raise UserError(
                f"technique.trainable_layers: {self.trainable_layers} are more than the model's {len(layers)} layers"
            )
        trunk = {id(parameter) for parameter in model.base_model.parameters()}
        head = [parameter for parameter in model.parameters() if id(parameter) not in trunk]
        moving = {id(parameter) for parameter in head}
        opened = list(layers[len(layers) - self.trainable_layers :])
        if opened or not head:
            opened.append(norm)
        moving |= {id(parameter) for module in opened for parameter in module.parameters()}
        moving -= {id(parameter) for parameter in embeddings.parameters()}
        for pattern in self.patterns:
            named = {id(value) for name, value in model.named_parameters() if fnmatch.fnmatchcase(name, pattern)}
            if not named:
                raise UserError(
                    f"technique.patterns: '{pattern}' matches no parameter; their names are like "
                    f"{', '.join(name for name, _ in list(model.named_parameters())[:3])}"
                )
            moving |= named
        for parameter in model.parameters():
            parameter.requires_grad = id(parameter) in moving
        return model
