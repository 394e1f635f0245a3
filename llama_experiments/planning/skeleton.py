"""A job's model as a run would have it at the first step, with shapes and types and no contents."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.models.base import cast_parameters, quiet_transformers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from llama_experiments.experiment import Experiment
    from llama_experiments.tasks.base import Task

CLASSES = ("a", "b")  # stand for the classes that only the rows could tell
NOT_SETTINGS = ("architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "id2label", "label2id")
TYPES = ("float32", "bfloat16", "float16")


def stand_in_task(task: Task, labels: list[str] | None) -> Task:
    """The task as the rows would bind it, as far as that has a weight."""
    if any(field.name == "labels" for field in dataclasses.fields(task)) and getattr(task, "labels", None) is None:
        return dataclasses.replace(task, labels=labels or list(CLASSES))  # type: ignore[call-arg]
    return task


def skeleton(
    experiment: Experiment, shape: Mapping[str, Any], task: Task, precision: str, device: str = "meta"
) -> PreTrainedModel:
    """The model, adapted by the technique; on another device than meta, with random weights.

    Args:
        shape: the model's config.json, complete.
        precision: fp32, bf16 or fp16.

    Raises:
        UserError: the technique does not fit the model, or the config.json is not a Llama's.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import LlamaConfig

    known = {key: value for key, value in shape.items() if key not in NOT_SETTINGS}
    attention = experiment.model._attention()
    if experiment.model.attention == "varlen" and device == "meta":
        # It asks where texts begin, which tensors without contents do not tell; SDPA's kernel holds as much.
        attention = {"attn_implementation": "sdpa"}
    stored = getattr(torch, stored_type(shape))
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet_transformers())
        stack.enter_context(torch.device(device))
        try:
            config = LlamaConfig(**{**known, **task.model_settings()})
            model: PreTrainedModel = task.model_class()._from_config(config, dtype=stored, **attention)
        except (TypeError, ValueError, KeyError, StrictDataclassError) as error:
            raise UserError(f"model: its config.json cannot be read: {' '.join(str(error).split())[:200]}") from error
        model = experiment.technique.adapt_model(model, experiment.seed)
        narrow = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        frozen = torch.float32 if precision == "fp32" else narrow.get(experiment.model.dtype)
        cast_parameters(model, frozen)
    if experiment.training.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def stored_type(shape: Mapping[str, Any]) -> str:
    """The type in which the weights are stored, as config.json says it."""
    told = str(shape.get("dtype") or shape.get("torch_dtype") or "float32").rpartition(".")[2]
    return told if told in TYPES else "float32"


def materialise(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Move a model from the meta device to `device`, inside of a `FakeTensorMode`: there kernels are chosen as on it.

    A tensor that two modules share stays one.
    """
    import torch

    made: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                values = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
                made[id(parameter)] = torch.nn.Parameter(values, requires_grad=parameter.requires_grad)
            module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
    return model
