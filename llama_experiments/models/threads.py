"""Threads that match the work: on a CPU more than a pass is worth wait for each other longer than they compute.

A rule of shapes, never of a timing: a run repeats itself to the last bit, on a machine with as many cores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

# A layer's weights times a pass's tokens, of each thread. At a hidden size of 64 a step of 256 tokens (12 million) is
# no faster with two threads and takes twice the processors' time; one of 512 is a fifth faster.
WORTH = 1 << 23


@contextlib.contextmanager
def matching_threads(model: Any, tokens: float) -> Iterator[None]:
    """Let no more threads compute than passes of so many tokens are worth, and never more than there are.

    Args:
        model: a Llama for any task.
        tokens: of a pass.
    """
    layer = model.base_model.layers[0]
    most = torch.get_num_threads()
    weights = sum(parameter.numel() for parameter in layer.parameters())
    wanted = max(1, min(most, int(weights * tokens / WORTH)))
    if wanted == most or next(layer.parameters()).device.type != "cpu":
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(most)
