"""The padding probe: a row must mean the same alone and in a batch with a longer one, padded or packed."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import torch

from llama_experiments.data.examples import Examples
from llama_experiments.errors import UserError
from llama_experiments.sharing import settings_key, shared
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.training.evaluation import to_device

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}  # nats an item


def probe_once(
    task_model: TaskModel, examples: Examples, device: torch.device, packed: bool, model_key: Hashable
) -> None:
    """`probe_padding`, once for all jobs of a process that would compute the same with the same rows.

    Args:
        model_key: tells the weights and how they are computed with.

    Raises:
        UserError: as it does.
    """
    task_model.to(device)
    batch = examples.batch(_pair(examples), packed)
    rows = tuple((name, tuple(values.shape), values.numpy().tobytes()) for name, values in batch.items())
    config = task_model.model.config
    how = (config.to_json_string(use_diff=False), config._attn_implementation, str(device), packed)
    key = (model_key, settings_key(task_model.task), rows, how, _autocast_dtype(device))
    shared("padding probes", key, lambda: probe_padding(task_model, examples, device, packed))


def probe_padding(task_model: TaskModel, examples: Examples, device: torch.device, packed: bool = False) -> float:
    """Compare the shortest example's loss alone and beside the longest; returns the difference.

    Called under the run's autocast: it is that arithmetic which is tried, and flash attention knows no other.

    Raises:
        UserError: they differ, so the model's attention looks at padding, or at neighbours.
    """
    pair = _pair(examples)
    was_training = task_model.training
    task_model.eval().to(device)
    with torch.inference_mode():
        alone = task_model(to_device(examples.batch(pair[1:]), device)).predictions["loss"][0]
        beside = task_model(to_device(examples.batch(pair, packed), device)).predictions["loss"][1]
    task_model.train(was_training)
    difference = float((alone - beside).abs()) / int(examples.counts[pair[1]])
    dtype = _autocast_dtype(device) or next(task_model.parameters()).dtype
    if not difference <= TOLERANCE.get(dtype, 1e-3):
        if packed:
            raise UserError(
                f"training.layout: the padding probe failed: a row's loss differs by {difference:.2g} when it is "
                "packed with others; choose padded, or another model.attention"
            )
        raise UserError(
            f"model.attention: the padding probe failed: a row's loss differs by {difference:.2g} when it is padded; "
            "this attention implementation looks at padding, choose another (sdpa or eager)"
        )
    return difference


def _autocast_dtype(device: torch.device) -> torch.dtype | None:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _pair(examples: Examples) -> np.ndarray:
    """The longest and the shortest, in this order: packed, only the second could see the other."""
    order = np.argsort(examples.lengths, kind="stable")
    return np.array([order[-1], order[0]])
