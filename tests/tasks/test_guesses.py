"""What guessing reaches, against the same figures by hand."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from datasets import Dataset as Table

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.data.tokenized import encode
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.generative_question_answering import GenerativeQuestionAnswering
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.baseline import Baseline
from llama_experiments.training.evaluation import Evaluation, evaluate
from tests.conftest import sentences


def rows_of(part: str, columns: dict[str, list[object]]) -> Rows:
    size = len(next(iter(columns.values())))
    return Rows(part, part, Table.from_dict(columns), np.arange(size) + 1, {})


def guessed(
    task: Task, parts: dict[str, Rows], model_folder: Path, cache: Path
) -> tuple[Evaluation, dict[str, Examples], Task]:
    """The evaluation of a task's baseline."""
    task = Baseline().adapt_task(task, parts, seed=0)
    tokenizer = load_tokenizer(model_folder)
    examples = {part: encode(rows, task, tokenizer, cache) for part, rows in parts.items()}
    task = task.seen(examples["train"])
    model = Baseline().adapt_model(Checkpoint(checkpoint=str(model_folder)).load(task, seed=0).model, 0)
    assert Baseline().parameter_groups(model) == []
    found = evaluate(TaskModel(model, task), task, examples["validation"], 4, Accelerator(cpu=True))
    return found, examples, task


def test_the_larger_class_and_the_classes_shares(model_folder: Path, tmp_path: Path) -> None:
    texts = [text for text, _ in sentences(14)]
    parts = {
        "train": rows_of("train", {"text": texts[:8], "label": [1, 1, 1, 1, 1, 0, 0, 1]}),
        "validation": rows_of("validation", {"text": texts[8:], "label": [1, 0, 1, 1, 0, 1]}),
    }
    found, _, task = guessed(SequenceClassification(labels=["a", "b"], max_length=32), parts, model_folder, tmp_path)
    shares = [3 / 10, 7 / 10]
    assert found.loss == pytest.approx(-(4 * math.log(shares[1]) + 2 * math.log(shares[0])) / 6, abs=1e-6)
    assert found.metrics["accuracy"] == pytest.approx(4 / 6)
    assert task.metric == "accuracy"


def test_a_class_that_training_never_showed_has_a_chance(model_folder: Path, tmp_path: Path) -> None:
    texts = [text for text, _ in sentences(4)]
    parts = {
        "train": rows_of("train", {"text": texts[:3], "label": [0, 1, 1]}),
        "validation": rows_of("validation", {"text": texts[3:], "label": [2]}),
    }
    task = SequenceClassification(labels=["a", "b", "c"], max_length=32)
    assert guessed(task, parts, model_folder, tmp_path)[0].loss == pytest.approx(-math.log(1 / 6), abs=1e-6)


def test_any_span(model_folder: Path, tmp_path: Path) -> None:
    answers = [{"text": ["kettle"], "answer_start": [4]}]
    columns = {"question": ["What was warm?"], "context": ["The kettle was warm."], "answers": answers}
    parts = {part: rows_of(part, columns) for part in ("train", "validation")}
    found, examples, _ = guessed(QuestionAnswering(max_length=64, stride=8), parts, model_folder, tmp_path)
    assert found.loss == pytest.approx(math.log(examples["validation"].lengths[0]), abs=1e-6)


@pytest.mark.parametrize("format", ["text", "completion"])
def test_tokens_by_their_shares(format: str, model_folder: Path, tmp_path: Path) -> None:
    """Only what is learned counts: of a completion, not its prompt."""
    texts = [text for text, _ in sentences(12)]
    if format == "text":
        columns = [{"text": texts[:8]}, {"text": texts[8:]}]
    else:
        columns = [{"prompt": ["Say: "] * len(part), "completion": part} for part in (texts[:8], texts[8:])]
    parts = {name: rows_of(name, part) for name, part in zip(("train", "validation"), columns, strict=True)}
    task = TextGeneration(format=format, max_length=64, sample_tokens=0)  # type: ignore[arg-type]
    found, examples, _ = guessed(task, parts, model_folder, tmp_path)

    def learned(part: Examples) -> list[int]:
        ids, offsets = part.ragged["input_ids"]
        scored = part.ragged["scored"][0] if "scored" in part.ragged else np.ones(len(ids))
        return [int(ids[at]) for at in range(len(ids)) if scored[at] and at not in set(offsets[:-1])]

    counts, vocabulary = Counter(learned(examples["train"])), len(load_tokenizer(model_folder))
    total = sum(counts.values()) + vocabulary
    nats = [-math.log((counts[token] + 1) / total) for token in learned(examples["validation"])]
    assert found.count == len(nats)
    assert found.loss == pytest.approx(sum(nats) / len(nats), abs=1e-6)


def test_written_answers_have_no_baseline_but_their_tokens(model_folder: Path, tmp_path: Path) -> None:
    answers = [{"text": ["kettle"], "answer_start": [4]}]
    columns = {"question": ["What was warm?"], "context": ["The kettle was warm."], "answers": answers}
    parts = {part: rows_of(part, columns) for part in ("train", "validation")}
    found, examples, task = guessed(GenerativeQuestionAnswering(max_length=64), parts, model_folder, tmp_path)
    assert found.loss < math.log(320)
    assert task.metric == "loss"
    sums, counts = task.row_metric(task.prediction_table(found.predictions, examples["validation"]))
    assert sums.sum() / counts.sum() == pytest.approx(found.loss)
