"""What can be seen to be wrong before anything slow is started, beyond each setting's own rules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.errors import Mistake, offer
from llama_experiments.models.base import OF_16_BITS
from llama_experiments.paths import not_writable
from llama_experiments.techniques.qlora import QLoRA

if TYPE_CHECKING:
    from llama_experiments.data.sources import Dataset
    from llama_experiments.experiment import Experiment
    from llama_experiments.tasks.base import Task


def problems(experiment: Experiment) -> list[Mistake]:
    """Everything in an experiment that its parts cannot mean together, or that this machine cannot do."""
    model, dataset, task, training = experiment.model, experiment.dataset, experiment.task, experiment.training
    of_parts = {
        "model": model.problems(),
        "dataset": dataset.problems(),
        "technique": experiment.technique.problems(model.shape()),
        "training": training.problems(),
    }
    found = [
        Mistake(f"{part}.{name}" if name else part, said) for part, these in of_parts.items() for name, said in these
    ]
    if model.attention in OF_16_BITS and training.precision == "fp32":
        found.append(Mistake("model.attention", f"{model.attention} has no fp32, and training.precision is fp32"))
    if training.sharding == "fsdp" and (sentence := _not_to_be_sharded(experiment)) is not None:
        found.append(Mistake("training.sharding", f"fsdp {sentence}"))
    found += unknown_columns(dataset, task)
    positions = model.positions()
    if positions is not None and task.max_length > positions:
        sentence = f"{task.max_length} tokens are more than the model's {positions} positions"
        found.append(Mistake("task.max_length", sentence))
    if (unusable := not_writable(Path(experiment.output_dir))) is not None:
        found.append(Mistake("output_dir", unusable))
    return found


def _not_to_be_sharded(experiment: Experiment) -> str | None:
    """Why a run's weights cannot be shared out, or None."""
    training, technique = experiment.training, experiment.technique
    if max(training.processes or 1, int(os.environ.get("WORLD_SIZE", "1"))) == 1:
        return "shares weights out, and there is one process: set training.processes, or leave it at none"
    if not technique.trains:
        return "shares out what is trained, and the technique trains nothing: leave it at none"
    if any(isinstance(part, QLoRA) for part in (technique, *getattr(technique, "parts", {}).values())):
        return "cannot share out weights in 4 bits: use technique=lora"
    if training.optimizer == "adamw_8bit":
        return "needs training.optimizer=adamw: adamw_8bit cannot work on shares"
    return None


def unknown_columns(dataset: Dataset, task: Task) -> list[Mistake]:
    """Columns that are mapped and that the task does not read."""
    reads = " and ".join(task.columns)
    return [
        Mistake(f"dataset.columns.{column}", f"the task reads {reads}; {offer(column, task.columns, 'columns')}")
        for column in dataset.columns
        if column not in task.columns
    ]


def not_downloaded(experiment: Experiment) -> list[Mistake]:
    """What is needed from the Hub and was never downloaded: mistakes when the Hub cannot be reached."""
    from llama_experiments.hub import not_downloaded, unreachable

    needed = [
        ("model", "model.checkpoint", experiment.model.hub_name),
        ("dataset", "dataset.name", experiment.dataset.hub_name),
    ]
    return [
        Mistake(setting, unreachable(name))
        for kind, setting, name in needed
        if name is not None and not_downloaded(kind, name)
    ]
