"""What bitsandbytes does, where it can: an extra, for one GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def why_no_bitsandbytes(what: str) -> str | None:
    """Why this machine cannot have `what`, or None."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return f"{what} needs the package bitsandbytes: pip install 'llama-experiments[quantized]'"
    import torch

    return None if torch.cuda.is_available() else f"{what} needs a GPU, and there is none here"


def parameter_count(parameters: Iterable[torch.Tensor]) -> int:
    """How many parameters there are; those in 4 bits lie two in one."""
    states = [(parameter, getattr(parameter, "quant_state", None)) for parameter in parameters]
    return sum(parameter.numel() if state is None else state.shape.numel() for parameter, state in states)
