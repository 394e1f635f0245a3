"""What there is to do: rows, their lengths, steps. Read from the data where it is here and small."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples
    from llama_experiments.experiment import Experiment
    from llama_experiments.tasks.base import Task

CHEAP = 32_000_000  # bytes of files that are read without being asked to


@dataclasses.dataclass(frozen=True)
class Lengths:
    """What memory depends on: the longest rows, in tokens, and how many rows there are."""

    train: int
    evaluation: int
    train_rows: int
    evaluation_rows: int


@dataclasses.dataclass(frozen=True)
class Work:
    """A job's examples, encoded, and its task as they bind it."""

    task: Task
    examples: dict[str, Examples]
    tokenizer: PreTrainedTokenizerFast

    @property
    def lengths(self) -> Lengths:
        """The longest rows."""
        train, others = self.examples["train"], [value for part, value in self.examples.items() if part != "train"]
        longest = max(int(part.lengths.max()) for part in others)
        return Lengths(int(train.lengths.max()), longest, len(train), max(map(len, others)))


def at_most(experiment: Experiment) -> Lengths:
    """The greatest length that a row can have: the task's, or of a prompt with examples the model's."""
    unknown, length = 1 << 30, experiment.task.max_length
    if not experiment.technique.trains and getattr(experiment.technique, "shots", None):
        length = getattr(experiment.technique, "context", None) or experiment.model.positions() or length
    return Lengths(length, length, unknown, unknown)


def asked_task(experiment: Experiment) -> Task:
    """The task as the technique poses it, as far as that is known without rows: a prompt is a language model's."""
    from llama_experiments.tasks.text_generation import TextGeneration

    if experiment.technique.trains:
        return experiment.task
    return TextGeneration(max_length=experiment.task.max_length)


def is_cheap(experiment: Experiment) -> bool:
    """Whether the rows are here, and few enough to be read at once."""
    dataset = experiment.dataset
    if dataset.needs_hub:
        return False
    files = [file for part in dataset.parts for file in dataset.files(part)]
    return sum(file.stat().st_size if file.is_file() else CHEAP for file in files) <= CHEAP


def read_work(experiment: Experiment) -> Work:
    """Read and encode the rows, as a run does, and keep the tokens where a run will look for them.

    Raises:
        UserError: what a run would say of the data.
    """
    from llama_experiments.data.hygiene import check_rows
    from llama_experiments.data.rows import load_rows
    from llama_experiments.data.tokenized import encode
    from llama_experiments.models.tokenizer import load_tokenizer
    from llama_experiments.planning.shape import model_shape, small_files

    positions = model_shape(experiment.model).get("max_position_embeddings")
    if not isinstance(positions, int):
        raise UserError("model: its config.json does not say max_position_embeddings")
    tokenizer = load_tokenizer(small_files(experiment.model))
    rows = load_rows(experiment.dataset, experiment.task)
    task = experiment.task.bind(rows, experiment.dataset.labels)
    rows, _ = check_rows({part: task.prepared(rows[part]) for part in rows}, task, experiment.dataset)
    task = experiment.technique.adapt_task(task, rows, experiment.seed).meet(tokenizer, positions)
    cache = Path(experiment.output_dir) / "cache"
    examples = {part: encode(rows[part], task, tokenizer, cache) for part in rows}
    task = task.seen(examples["train"])
    examples["train"] = task.weighted(examples["train"])
    return Work(task, examples, tokenizer)
