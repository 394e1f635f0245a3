"""The parts of a Llama that people speak of, by the names of its parameters."""

from __future__ import annotations

import re

EMBEDDINGS, NORM, HEAD = "embeddings", "final norm", "head"
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The decoder layer of a parameter, from 0; None outside of them."""
    found = LAYER.search(name)
    return int(found[1]) if found else None


def part_of(name: str) -> str:
    """The part of the model that a parameter is in: embeddings, a layer, the final norm, the head."""
    layer = layer_of(name)
    if layer is not None:
        return f"layer {layer}"
    if "embed_tokens" in name:
        return EMBEDDINGS
    return NORM if re.search(r"(^|\.)norm\.", name) else HEAD
