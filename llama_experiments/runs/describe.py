"""A run in words: the header's facts, the tracker's parameters and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.models.quantized import parameter_count
from llama_experiments.paths import show
from llama_experiments.runs.data_report import data_facts
from llama_experiments.runs.result import Cost
from llama_experiments.training.device import arithmetic

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llama_experiments.experiment import Experiment
    from llama_experiments.material import Material
    from llama_experiments.techniques.base import ParameterGroup
    from llama_experiments.training.settings import Training


def describe_run(
    experiment: Experiment,
    folder: Path,
    material: Material,
    training: Training,
    model: PreTrainedModel,
    groups: Sequence[ParameterGroup],
    accelerator: Accelerator,
    names: Mapping[str, str],
) -> dict[str, str]:
    """The header: what runs on what, how much of it moves, for how long, and where the outputs go.

    `names` are the groups' choices; a replayed config has none, and the classes' own names stand in.
    """
    rows, examples = material.rows, material.examples
    total = parameter_count(model.parameters())
    trained = parameter_count(parameter for parameter in model.parameters() if parameter.requires_grad)
    an_epoch = training.steps_per_epoch(len(examples["train"]))
    micro = training.device_micro_batch(accelerator.num_processes)
    device = "GPU" if accelerator.device.type == "cuda" else "CPU"
    processes = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    processes += ", each with a share of the weights (FSDP2)" if accelerator.is_fsdp2 else ""
    task, technique = names.get("task", experiment.task.name), names.get("technique", experiment.technique.name)
    passes = f" (in passes of {micro})" if micro < training.batch_size else ""
    batch = f"batch {training.batch_size}{passes}"
    rate = f"learning rate {training.learning_rate:g}, {training.schedule}"
    if training.warmup_ratio:
        rate += f" after a warm-up of {training.warmup_ratio:.0%}"
    if len({group.multiplier for group in groups}) > 1:
        lowest = training.learning_rate * min(group.multiplier for group in groups)
        highest = training.learning_rate * max(group.multiplier for group in groups)
        rate += f", by group from {lowest:.3g} to {highest:.3g}"
    steps = f"{an_epoch * training.epochs:,}: {training.epochs} epochs of {an_epoch:,}, {batch}, {rate}"
    if not groups:
        steps = f"none: {technique} moves no weight, so the evaluation of epoch 0 is the whole run"
    return {
        "task": f"{task}, technique {technique}, at most {experiment.task.max_length} tokens",
        "model": f"{_model_name(experiment)}: {trained:,} of {total:,} parameters trained ({trained / total:.1%})",
        "training": _describe_rows(rows["train"], examples["train"]),
        "evaluation": _describe_rows(rows["validation"], examples["validation"]),
        **{part: _describe_rows(rows[part], examples[part]) for part in ("test",) if part in rows},
        **data_facts(material.hygiene),
        "steps": steps,
        "device": f"{device}, {arithmetic(accelerator)}{processes}",
        "outputs": show(folder),
    }


def run_cost(
    experiment: Experiment,
    names: Mapping[str, str],
    training: Training,
    model: PreTrainedModel,
    validation: Examples,
    memory: int | None,
) -> Cost:
    """What a run needed, for its result."""
    trained = parameter_count(parameter for parameter in model.parameters() if parameter.requires_grad)
    return Cost(
        technique=names.get("technique") or experiment.technique.name,
        learning_rate=training.learning_rate if trained else None,
        parameters=parameter_count(model.parameters()),
        trainable_parameters=trained,
        peak_memory_growth=memory,
        evaluation_tokens=int(validation.lengths.sum()),
    )


def run_tags(
    experiment: Experiment, folder: Path, environment: dict[str, Any], names: Mapping[str, str]
) -> dict[str, str]:
    """What people look for among many runs."""
    git = environment["git"]
    return {
        "task": names.get("task") or experiment.task.name,
        "technique": names.get("technique") or experiment.technique.name,
        "dataset": names.get("dataset") or experiment.dataset.where("train"),
        "model": _model_name(experiment),
        "run_folder": str(folder.resolve()),
        **({"git_commit": git["commit"] + ("+changes" if git["changed"] else "")} if git else {}),
    }


def _model_name(experiment: Experiment) -> str:
    return str(getattr(experiment.model, "checkpoint", "from scratch"))


def _describe_rows(rows: Rows, examples: Examples) -> str:
    said = f"{len(rows):,} rows of {rows.where}, {int(examples.lengths.sum()):,} tokens"
    if rows.left_out:
        said += "; left out: " + ", ".join(f"{count:,} with {reason}" for reason, count in rows.left_out.items())
    return said
