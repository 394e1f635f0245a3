"""Layer freezing: the head moves, and of the trunk what is asked for."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.errors import UserError, check_settings
from llama_experiments.techniques.base import Technique

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freeze(Technique):
    """Everything but the head is frozen; `trainable_layers` opens the last decoder layers and the final norm.

    A new head, of classes or spans, always moves. A language model's is trained already and may be the largest matrix
    of all, so it moves only where nothing else is opened: then it is what *head only* means. Where it is tied to the
    embeddings it gets a copy of its own first, for the embeddings stay frozen unless a pattern names them.
    """

    name: ClassVar[str] = "layer freezing"

    trainable_layers: int = 0  # the last so many decoder layers move
    patterns: list[str] = dataclasses.field(default_factory=list)  # further parameters that move, with wildcards

    def __post_init__(self) -> None:
        check_settings(
            ("trainable_layers", self.trainable_layers >= 0, f"must be at least 0, not {self.trainable_layers}")
        )

    def problems(self, shape: Mapping[str, Any] | None) -> list[tuple[str, str]]:
        layers = (shape or {}).get("num_hidden_layers")
        if not isinstance(layers, int) or self.trainable_layers <= layers:
            return []
        return [("trainable_layers", f"{self.trainable_layers} are more than the model's {layers} layers")]

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        trunk = model.base_model
        problems = self.problems({"num_hidden_layers": len(trunk.layers)})
        if problems:
            raise UserError(f"technique.{problems[0][0]}: {problems[0][1]}")
        moving = self._named(model)
        if self.trainable_layers:
            opened = [*trunk.layers[len(trunk.layers) - self.trainable_layers :], trunk.norm]
            moving |= {id(parameter) for module in opened for parameter in module.parameters()}
        if model.get_output_embeddings() is None:
            in_trunk = {id(parameter) for parameter in trunk.parameters()}
            moving |= {id(parameter) for parameter in model.parameters()} - in_trunk
        elif not moving:
            moving = {id(_own_head(model))}
        for parameter in model.parameters():
            parameter.requires_grad &= id(parameter) in moving
        return model

    def _named(self, model: PreTrainedModel) -> set[int]:
        """The parameters that the patterns name."""
        moving: set[int] = set()
        for pattern in self.patterns:
            named = {id(value) for name, value in model.named_parameters() if fnmatch.fnmatchcase(name, pattern)}
            if not named:
                raise UserError(
                    f"technique.patterns: '{pattern}' matches no parameter; their names are like "
                    f"{', '.join(name for name, _ in list(model.named_parameters())[:3])}"
                )
            moving |= named
        return moving


def _own_head(model: PreTrainedModel) -> Any:
    """A language model's output matrix, not shared with the embeddings."""
    import torch

    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    return head.weight
