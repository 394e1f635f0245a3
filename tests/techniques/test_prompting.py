"""Prompting: which rows are shown solved, and that nothing moves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset as Table

from llama_experiments.data.rows import Rows
from llama_experiments.errors import SettingError, UserError
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.prompted_classification import PromptedClassification
from llama_experiments.tasks.prompted_question_answering import PromptedQuestionAnswering
from llama_experiments.tasks.prompted_text_generation import PromptedTextGeneration
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.prompting import Prompt, drawn_rows

CLASSES = SequenceClassification(labels=["bad", "fair", "good"])
WRITING = TextGeneration(max_length=32)


def part(name: str, texts: list[str], **columns: list[Any]) -> Rows:
    return Rows(name, f"{name}.csv", Table.from_dict({"text": texts, **columns}), np.arange(len(texts)) + 1, {})


def labelled(sizes: list[int], validation: list[str] | None = None) -> dict[str, Rows]:
    """Training rows of each class, mixed, and evaluation rows."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes)).tolist()
    other = validation or ["another text"]
    train = part("train", [f"text {number}" for number in range(len(labels))], label=labels)
    return {"train": train, "validation": part("validation", other, label=[0] * len(other))}


def classes_of(rows: dict[str, Rows], drawn: list[int]) -> list[int]:
    return [rows["train"].table[at]["label"] for at in drawn]


@pytest.mark.parametrize("shots", [1, 3, 4, 8, 30])
def test_each_class_is_drawn_as_often_as_any_other(shots: int) -> None:
    rows = labelled([20, 400, 50])
    for seed in range(5):
        drawn = drawn_rows(CLASSES, rows, shots, seed)
        assert len(set(drawn)) == shots
        counts = Counter(classes_of(rows, drawn))
        assert max(counts.values()) - min(counts.get(index, 0) for index in range(3)) <= 1


def test_what_is_left_over_goes_to_classes_that_the_seed_draws() -> None:
    rows = labelled([20, 20, 20])
    assert {classes_of(rows, drawn_rows(CLASSES, rows, 1, seed))[0] for seed in range(20)} == {0, 1, 2}


def test_and_never_to_a_class_without_so_many_rows() -> None:
    rows = labelled([2, 3, 2])
    assert Counter(classes_of(rows, drawn_rows(CLASSES, rows, 7, 0))) == {0: 2, 1: 3, 2: 2}


def test_the_classes_are_mixed() -> None:
    rows = labelled([20, 20, 20])
    assert len({tuple(classes_of(rows, drawn_rows(CLASSES, rows, 6, seed))) for seed in range(10)}) > 5


@pytest.mark.parametrize("task", [CLASSES, WRITING])
def test_a_seed_draws_the_same_rows_again_and_another_draws_others(task: Task) -> None:
    rows = labelled([30, 30, 30])
    first = drawn_rows(task, rows, 6, 0)
    assert drawn_rows(task, rows, 6, 0) == first
    assert len({tuple(sorted(drawn_rows(task, rows, 6, seed))) for seed in range(10)}) == 10
    assert set(first) < set(drawn_rows(task, rows, 12, 0))  # more are those and others


@pytest.mark.parametrize("task", [CLASSES, WRITING])
def test_no_text_of_an_evaluation_row_is_drawn_nor_one_twice(task: Task) -> None:
    """However it is written: by what the report calls the same."""
    texts = ["One", "TWO", "three  words here", "four", "Four", "five", "six"]
    train = part("train", texts, label=[0, 1, 2, 0, 0, 1, 2])
    rows = {
        "train": train,
        "validation": part("validation", ["two", "Three words here"], label=[0, 0]),
        "test": part("test", ["one"], label=[0]),
    }
    for seed in range(10):
        drawn = drawn_rows(task, rows, 3, seed)
        assert {texts[at] for at in drawn} == {"four", "five", "six"}
    with pytest.raises(UserError, match=r"technique.shots: 4 examples are .*training rows to draw from"):
        drawn_rows(task, rows, 4, 0)


def test_more_than_a_class_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"technique.shots: 12 examples are 4 of the class 'fair', which has 3 train"):
        drawn_rows(CLASSES, labelled([20, 3, 20]), 12, 0)


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"technique.shots: 61 examples are more than the 60 training rows"):
        drawn_rows(WRITING, labelled([20, 20, 20]), 61, 0)


def test_the_task_is_put_with_the_rows_drawn() -> None:
    rows = labelled([20, 20, 20])
    technique = Prompt(shots=5, separator="\n", calibrate=True, context=40)
    task = technique.adapt_task(CLASSES, rows, 3)
    assert isinstance(task, PromptedClassification)
    assert task.prompting.demonstrations == [rows["train"].table[at] for at in drawn_rows(CLASSES, rows, 5, 3)]
    assert (task.prompting.separator, task.prompting.calibrate, task.prompting.context) == ("\n", True, 40)
    assert (task.labels, task.max_length) == (CLASSES.labels, CLASSES.max_length)


@pytest.mark.parametrize(
    ("task", "kind"), [(WRITING, PromptedTextGeneration), (QuestionAnswering(), PromptedQuestionAnswering)]
)
def test_there_is_nothing_to_calibrate_without_classes(task: Task, kind: type) -> None:
    rows = labelled([2, 2, 2])
    assert type(Prompt().adapt_task(task, rows, 0)) is kind
    with pytest.raises(UserError, match=r"technique.calibrate: this task has no classes"):
        Prompt(calibrate=True).adapt_task(task, rows, 0)


def test_nothing_moves_and_nothing_is_saved(model_folder: Path) -> None:
    technique = Prompt()
    task = technique.adapt_task(CLASSES, labelled([2, 2, 2]), 0)
    loaded = Checkpoint(checkpoint=str(model_folder)).load(task, seed=0)
    assert loaded.fresh == []  # the head is the language model's own
    model = technique.adapt_model(loaded.model, 0)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert technique.parameter_groups(model) == []
    assert technique.saved() == {}
    assert not technique.trains


def test_a_context_longer_than_the_models_is_seen_at_once() -> None:
    shape = {"max_position_embeddings": 64}
    ((setting, sentence),) = Prompt(context=65).problems(shape)
    assert (setting, sentence) == ("context", "65 tokens are more than the model's 64 positions")
    assert Prompt(context=64).problems(shape) == Prompt(context=65).problems(None) == Prompt().problems(shape) == []


@pytest.mark.parametrize(("settings", "word"), [({"shots": -1}, "shots"), ({"context": 1}, "context")])
def test_values_out_of_range(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingError, match=word):
        Prompt(**settings)
