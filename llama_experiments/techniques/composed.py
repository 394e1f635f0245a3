"""Techniques one after another: each narrows down what the one before left open."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.errors import check_settings
from llama_experiments.techniques.base import ParameterGroup, Save, Technique

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composed(Technique):
    """Several techniques as one, in the order of their names in the config.

    A weight moves if every part lets it, at the product of their multipliers: frozen layers with LoRA above them,
    layer decay over what freezing left open.
    """

    name: ClassVar[str] = "a composed technique"

    parts: dict[str, Technique]  # by a name of one's choice

    def __post_init__(self) -> None:
        asked = [name for name, part in self.parts.items() if not part.trains]
        saving = [name for name, part in self.parts.items() if type(part).saved is not Technique.saved]
        check_settings(
            ("parts", bool(self.parts), "must be one or more techniques"),
            ("parts", not asked, f"must be techniques that train, and {', '.join(asked)} does not"),
            ("parts", len(saving) <= 1, f"must add new weights once at most, and {' and '.join(saving)} do"),
        )

    def problems(self, shape: Mapping[str, Any] | None) -> list[tuple[str, str]]:
        return [
            (f"parts.{name}.{setting}", sentence)
            for name, part in self.parts.items()
            for setting, sentence in part.problems(shape)
        ]

    def quantization(self) -> BitsAndBytesConfig | None:
        return next(filter(None, (part.quantization() for part in self.parts.values())), None)

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        return functools.reduce(lambda adapted, part: part.adapt_model(adapted, seed), self.parts.values(), model)

    def parameter_groups(self, model: PreTrainedModel) -> list[ParameterGroup]:
        """A group for each way in which the parts' groups meet."""
        of_parts = [part.parameter_groups(model) for part in self.parts.values()]
        groups_of = [{id(moving): group for group in groups for moving in group.parameters} for groups in of_parts]
        met: dict[tuple[str, ...], ParameterGroup] = {}
        for group in max(of_parts, key=len):  # the finest, for its order
            for parameter in group.parameters:
                meeting = [groups[id(parameter)] for groups in groups_of]
                names = tuple(dict.fromkeys(one.name for one in meeting if one.name != "all"))
                multiplier = math.prod(one.multiplier for one in meeting)
                met.setdefault(names, ParameterGroup(", ".join(names) or "all", [], multiplier))
                met[names].parameters.append(parameter)
        return list(met.values())

    def saved(self) -> dict[str, Save]:
        return self._saving().saved()

    def restore(self, model: PreTrainedModel, folder: Path) -> None:
        self._saving().restore(model, folder)

    def _saving(self) -> Technique:
        """The part that knows how what was learned is saved."""
        own = (part for part in self.parts.values() if type(part).saved is not Technique.saved)
        return next(own, Technique())
