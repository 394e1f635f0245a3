"""The optimizer: AdamW (Loshchilov and Hutter 2019) without decay on norms and biases."""

from __future__ import annotations

from typing import Any

import torch

from llama_experiments.techniques.base import ParameterGroup
from llama_experiments.training.settings import Training

FUSED_DEVICES = ("cpu", "cuda")


def make_optimizer(groups: list[ParameterGroup], training: Training, device: torch.device) -> torch.optim.Optimizer:
    """AdamW with each group split by decay; `rate` in a group is its learning rate at the schedule's peak."""
    split: list[dict[str, Any]] = []
    for group in groups:
        rate = training.learning_rate * group.multiplier
        # Vectors are norms' weights and biases: decay would only move them away from what they calibrate.
        matrices = [parameter for parameter in group.parameters if parameter.ndim >= 2]
        vectors = [parameter for parameter in group.parameters if parameter.ndim < 2]
        for parameters, decay in ((matrices, training.weight_decay), (vectors, 0.0)):
            if parameters:
                split.append({"params": parameters, "lr": rate, "rate": rate, "weight_decay": decay})
    if training.optimizer == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(split)  # type: ignore[no-any-return]
    return torch.optim.AdamW(split, fused=device.type in FUSED_DEVICES)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's rate for a step; returns the highest, the one people watch."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * factor
    return float(max(group["lr"] for group in optimizer.param_groups))
