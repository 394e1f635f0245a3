"""The parts of a Llama that people speak of, by the names of its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable

EMBEDDINGS, NORM, HEAD = "embeddings", "final norm", "head"
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The decoder layer of a parameter, from 0; None outside of them."""
    found = LAYER.search(name)
    return int(found[1]) if found else None


def part_of(name: str) -> str:
    """The part of the model that a parameter is in: embeddings, a layer, the final norm, the head.

    An adapter's parameter is in the part that it adapts: peft puts words before and after the name, not into it.
    """
    layer = layer_of(name)
    if layer is not None:
        return f"layer {layer}"
    if "embed_tokens" in name:
        return EMBEDDINGS
    return NORM if re.search(r"(^|\.)norm\.", name) else HEAD


def number_of_layers(names: Iterable[str]) -> int:
    """How many decoder layers a model with parameters of these names has."""
    return 1 + max((layer for name in names if (layer := layer_of(name)) is not None), default=-1)


def top_down(parts: Iterable[str]) -> list[str]:
    """Each of these parts once, as the gradient comes to them: the head first, the embeddings last."""

    def height(part: str) -> tuple[int, int]:
        if part.startswith("layer "):
            return 1, int(part.removeprefix("layer "))
        return {EMBEDDINGS: 0, NORM: 2, HEAD: 3}[part], 0

    return sorted(set(parts), key=height, reverse=True)
