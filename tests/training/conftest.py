"""A task on rows of several lengths with the model it starts from, and training it in a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset as Table
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.data.tokenized import encode
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.base import Technique
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.loop import Epoch, fit
from llama_experiments.training.settings import Training
from llama_experiments.training.step import Step
from tests.conftest import sentences
from tests.training import launched
from tests.training.launched import Commands, Done

LABELS = ["negative", "positive"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from a second thread, and beside other tests it waits for a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished training: its records and its weights."""

    steps: list[Step]
    epochs: list[Epoch]
    weights: dict[str, torch.Tensor]

    def numbers(self) -> list[float | None]:
        """Every loss and gradient norm, for comparison to the last bit."""
        losses = [number for step in self.steps for number in (step.loss, step.gradient_norm)]
        evaluations = [epoch.evaluation.loss if epoch.evaluation else None for epoch in self.epochs]
        return [*losses, *(epoch.train_loss for epoch in self.epochs), *evaluations]


@dataclasses.dataclass(frozen=True)
class Case:
    """A task on encoded rows and the checkpoint it starts from."""

    task: Task
    texts: list[str]  # of the training rows
    examples: dict[str, Examples]
    checkpoint: Path

    def model(self) -> PreTrainedModel:
        """The model as a run loads it, its new head drawn with the seed 0."""
        return Checkpoint(checkpoint=str(self.checkpoint)).load(self.task, seed=0).model

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A tokenizer of one's own."""
        return load_tokenizer(self.checkpoint)

    def task_model(self) -> TaskModel:
        """What Accelerate prepares."""
        return TaskModel(self.model(), self.task)

    def epochs(
        self, *, seed: int = 0, on_step: Callable[[Step], None] = lambda _: None, **settings: Any
    ) -> tuple[PreTrainedModel, Iterator[Epoch]]:
        """A fresh model and its training, not yet begun; `settings` are Training's."""
        training = Training(**({"learning_rate": 1e-3} | settings))
        model = self.model()
        epochs = fit(
            TaskModel(model, self.task),
            self.examples["train"],
            self.examples["validation"],
            training=training,
            groups=Technique().parameter_groups(model),
            seed=seed,
            accelerator=make_accelerator(training),
            on_step=on_step,
        )
        return model, epochs

    def trained(self, *, seed: int = 0, on_step: Callable[[Step], None] = lambda _: None, **settings: Any) -> Trained:
        """Train a fresh model to the end."""
        steps: list[Step] = []

        def record(step: Step) -> None:
            steps.append(step)
            on_step(step)

        model, epochs = self.epochs(seed=seed, on_step=record, **settings)
        done = list(epochs)
        return Trained(steps, done, {name: tensor.clone() for name, tensor in model.state_dict().items()})


def make_case(task: Task, pairs: dict[str, list[tuple[str, str]]], checkpoint: Path, cache: Path) -> Case:
    """Pairs of (text, label name), encoded for `task`."""
    tables = {
        part: Table.from_dict(
            {"text": [text for text, _ in rows], "label": [LABELS.index(label) for _, label in rows]}
        ).select_columns(list(task.columns))
        for part, rows in pairs.items()
    }
    rows = {part: Rows(part, f"{part} rows", table, np.arange(len(table)) + 1, {}) for part, table in tables.items()}
    tokenizer = load_tokenizer(checkpoint)
    examples = {part: encode(rows[part], task, tokenizer, cache) for part in rows}
    return Case(task, [text for text, _ in pairs["train"]], examples, checkpoint)


# The last step of an epoch has fewer examples than the others, and the last pass of an evaluation too.
PAIRS = {"train": sentences(51), "validation": sentences(25, start=100)}
SENTIMENT = SequenceClassification(max_length=40, labels=LABELS)
# Documents of 17 to 53 tokens are cut: windows of 24 and of what is left of them.
TEXT_GENERATION = TextGeneration(max_length=24)


@pytest.fixture(scope="session")
def sentiment(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(SENTIMENT, PAIRS, model_folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def text_generation(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(TEXT_GENERATION, PAIRS, model_folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=["sentiment", "text_generation"])
def case(request: pytest.FixtureRequest) -> Case:
    """Both tasks, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Case)
    return found


@pytest.fixture(scope="session")
def commands(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return launched.make_commands(tmp_path_factory.mktemp("processes"), model_folder)


@pytest.fixture(scope="session")
def alone(commands: Commands) -> Done:
    """The run that all the others are compared with."""
    return commands.run(launched.ALONE, "alone", *launched.SENTIMENT)
