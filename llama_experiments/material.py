"""What a run works on: rows read, checked and encoded, the task that they bind, the model that is to learn it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from llama_experiments.data.examples import Examples
    from llama_experiments.data.hygiene import Hygiene
    from llama_experiments.data.rows import Rows
    from llama_experiments.experiment import Experiment
    from llama_experiments.models.base import Loaded
    from llama_experiments.tasks.base import Task
    from llama_experiments.techniques.base import ParameterGroup


@dataclasses.dataclass(frozen=True)
class Material:
    """All that is known before anything is trained."""

    task: Task
    rows: dict[str, Rows]  # by part
    examples: dict[str, Examples]
    hygiene: Hygiene
    loaded: Loaded


def gather(experiment: Experiment, accelerator: Accelerator, cache: Path) -> Material:
    """Load the rows, check them, bind the task to them, load tokenizer and model, and encode the rows.

    Raises:
        UserError: whatever of it the user can put right.
    """
    from llama_experiments.data.looked_at import look_at_rows
    from llama_experiments.data.tokenized import encode
    from llama_experiments.models.base import check_length

    with accelerator.main_process_first():  # the others find what the first has kept
        task, rows, hygiene = look_at_rows(experiment.task, experiment.dataset)
        task = experiment.technique.adapt_task(task, rows, experiment.seed)
        loaded = load(experiment, task)
        positions = loaded.model.config.max_position_embeddings
        check_length(positions, task)
        task = task.meet(loaded.tokenizer, positions)
        examples = {part: encode(rows[part], task, loaded.tokenizer, cache) for part in rows}
    hygiene.add_lengths(task, examples)
    task = task.seen(examples["train"])
    examples["train"] = task.weighted(examples["train"])
    return Material(task, rows, examples, hygiene, loaded)


def load(experiment: Experiment, task: Task) -> Loaded:
    """Tokenizer and the task's model, as the technique wants it loaded."""
    return experiment.model.load(task, experiment.seed, experiment.technique.quantization())


def ready(
    experiment: Experiment, model: PreTrainedModel, accelerator: Accelerator
) -> tuple[PreTrainedModel, list[ParameterGroup]]:
    """The model as training begins, and what of it moves.

    Raises:
        UserError: nothing that may move is left.
    """
    from llama_experiments.models.base import cast_parameters
    from llama_experiments.training.compilation import compile_layers
    from llama_experiments.training.device import frozen_dtype

    technique = experiment.technique
    if experiment.training.liger_kernels:
        from llama_experiments.training.liger import use_liger

        use_liger(model)
    model = technique.adapt_model(model, experiment.seed)
    cast_parameters(model, frozen_dtype(experiment.model.dtype, accelerator))
    if experiment.training.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if experiment.training.compile:
        compile_layers(model)
    groups = technique.parameter_groups(model)
    if technique.trains and not groups:
        raise UserError("technique: nothing that may move is left; open more, or choose one that is only asked")
    return model, groups
