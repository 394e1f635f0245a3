"""Question answering: the loss, what padding may not change, and answers from windows, scored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from llama_experiments.data.examples import Examples
from llama_experiments.errors import SettingError
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.question_answering import QuestionAnswering, best_threshold
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.evaluation import evaluate
from llama_experiments.training.settings import Training
from tests.tasks.conftest import Load, gradients, no_gradient, with_padding_of
from tests.tasks.questions import TASK, encoded, questions

INFINITY = float("inf")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="module")
def examples(tokenizer: PreTrainedTokenizerFast) -> Examples:
    return encoded(questions(12), tokenizer)


def alone(examples: Examples, index: int) -> dict[str, torch.Tensor]:
    return examples.batch(np.array([index]))


def test_the_rows_have_windows_of_every_kind(examples: Examples) -> None:
    """Or the tests below would prove less than they say."""
    row, start = examples.fixed["row"], examples.fixed["start"]
    silent = start == examples.lengths - 1
    assert len(set(row.tolist())) == 12
    assert max(np.bincount(row)) >= 3
    assert set(silent.tolist()) == {True, False}
    assert len(set(examples.lengths.tolist())) > 4
    assert examples.lengths.max() == TASK.max_length


def test_the_loss_of_a_window_is_transformers_own(load: Load, examples: Examples) -> None:
    model = load(TASK).eval()
    for index in range(len(examples)):
        batch = alone(examples, index)
        ours = no_gradient(TASK, model, batch)
        with torch.no_grad():
            theirs = model(input_ids=batch["input_ids"], start_positions=batch["start"], end_positions=batch["end"])
        assert ours.count == 1
        assert float(ours.loss) == pytest.approx(theirs.loss.item(), abs=1e-6)


def test_the_loss_of_windows_of_one_length_is_transformers_own(load: Load, examples: Examples) -> None:
    """And its gradient: a step's is the mean over its windows."""
    model = load(TASK).train()
    batch = examples.batch(np.flatnonzero(examples.lengths == TASK.max_length))
    assert len(batch["start"]) > 5
    ours = TASK.output(model, batch)
    assert ours.count == len(batch["start"])
    (ours.loss / ours.count).backward()
    mine = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    theirs = model(input_ids=batch["input_ids"], start_positions=batch["start"], end_positions=batch["end"])
    theirs.loss.backward()
    assert ours.loss.item() / ours.count == pytest.approx(theirs.loss.item(), abs=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(mine[name], parameter.grad, rtol=0, atol=1e-6)


def test_a_window_means_the_same_alone_and_in_any_company(load: Load, examples: Examples) -> None:
    model = load(TASK).eval()
    together = no_gradient(TASK, model, examples.batch(np.arange(len(examples)))).predictions
    assert together.keys() == {"loss", "span_start", "span_end", "span_score", "null_score"}
    for index in range(len(examples)):
        single = no_gradient(TASK, model, alone(examples, index)).predictions
        for name, values in single.items():
            torch.testing.assert_close(values[0], together[name][index], rtol=0, atol=1e-5)


@pytest.mark.parametrize("token", [0, 2, 36, 319])
def test_what_stands_in_the_padding_changes_no_bit(token: int, load: Load, examples: Examples) -> None:
    model, batch = load(TASK), examples.batch(np.arange(len(examples)))
    batch |= {name: torch.nn.functional.pad(batch[name], (0, 1)) for name in ("may_start", "may_end")}
    wider, other = with_padding_of(3, batch), with_padding_of(token, batch)
    expected, found = (no_gradient(TASK, model.eval(), each) for each in (wider, other))
    assert all(torch.equal(values, found.predictions[name]) for name, values in expected.predictions.items())
    ours, theirs = gradients(TASK, model, wider), gradients(TASK, model, other)
    assert all(torch.equal(gradient, theirs[name]) for name, gradient in ours.items())
    assert ours.keys() == dict(model.named_parameters()).keys()


def test_the_null_place_has_read_the_whole_window(load: Load, examples: Examples) -> None:
    """What the last word is shows in the score of there being no answer; at the first token it could not."""
    model, batch = load(TASK).eval(), alone(examples, 0)
    last = int(batch["lengths"][0]) - 1
    changed = batch["input_ids"].clone()
    changed[0, last - 1] += 1
    with torch.no_grad():
        before, after = (model.transformer(ids).last_hidden_state[0] for ids in (batch["input_ids"], changed))
    assert torch.equal(before[0], after[0])
    assert (before[last] - after[last]).abs().max() > 1e-3
    assert batch["input_ids"][0, last] == 2  # </s>


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
def test_evaluation_is_the_same_in_batches_of_any_size(batch_size: int, load: Load, examples: Examples) -> None:
    accelerator = make_accelerator(Training(learning_rate=1e-3))
    model = TaskModel(load(TASK), TASK)
    expected = evaluate(model, TASK, examples, 5, accelerator)
    found = evaluate(model, TASK, examples, batch_size, accelerator)
    assert found.count == expected.count == len(examples)
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-9)


def predicted(
    examples: Examples, spans: dict[int, list[tuple[str, float]]], null: dict[int, float]
) -> dict[str, np.ndarray]:
    """Predictions that name texts: in every window of a row that holds a text whole, with its score."""
    contexts = examples.rows.table["context"][:]
    (starts, offsets), (ends, _) = examples.ragged["char_start"], examples.ragged["char_end"]
    width = 3
    made: dict[str, Any] = {"span_start": [], "span_end": [], "span_score": [], "null_score": []}
    for window, row in enumerate(examples.fixed["row"]):
        part = slice(offsets[window], offsets[window + 1])
        found = []
        for text, score in spans.get(int(row), []):
            first = contexts[row].index(text)
            touching = np.flatnonzero((starts[part] < first + len(text)) & (ends[part] > first))
            if len(touching) and ends[part][touching[-1]] >= first + len(text) > first >= starts[part][touching[0]]:
                found.append((int(touching[0]), int(touching[-1]), score))
        found += [(0, 0, -INFINITY)] * (width - len(found))
        for name, column in zip(("span_start", "span_end", "span_score"), zip(*found, strict=True), strict=True):
            made[name].append(column)
        made["null_score"].append(null.get(int(row), -1.0))
    windows = {"loss": np.arange(len(examples)), "row": examples.fixed["row"], "count": examples.counts}
    return {name: np.array(values) for name, values in made.items()} | windows


def test_answers_of_questions_that_all_have_one(tokenizer: PreTrainedTokenizerFast) -> None:
    examples = encoded(questions(3, start=1), tokenizer)
    wanted = [answers["text"] for answers in examples.rows.table["answers"]]
    spans = {
        0: [(wanted[0][0], -1.0), (f"was {wanted[0][0]}", -2.0)],
        1: [("noisy", -0.5)],
        2: [(f"was {wanted[2][0]}", -3.0)],
    }
    predictions = predicted(examples, spans, {0: 0.0, 1: 0.0, 2: 0.0})  # and silence no choice
    table = TASK.prediction_table(predictions, examples)
    contexts = examples.rows.table["context"][:]
    assert table["row"].tolist() == [1, 2, 3]
    assert table["prediction"] == [wanted[0][0], "noisy", f"was {wanted[2][0]}"]
    assert [
        context[start:end]
        for context, start, end in zip(contexts, table["char_start"], table["char_end"], strict=True)
    ] == table["prediction"]
    assert table["exact_match"] == [1, 0, 0]
    assert table["f1"] == pytest.approx([1, 0, 2 / 3])
    assert [span["text"] for span in table["n_best"][0]] == [wanted[0][0], f"was {wanted[0][0]}"]
    assert table["n_best"][0][1]["score"] == -2.0
    assert table["null_margin"] == [1.0, 0.5, 3.0]
    # Sums over a question's windows.
    assert table["count"].tolist() == np.bincount(examples.fixed["row"]).tolist()
    assert table["loss"].sum() == pytest.approx(np.arange(len(examples)).sum())
    assert TASK.score(predictions, examples) == {
        "exact_match": pytest.approx(1 / 3),
        "f1": pytest.approx((1 + 2 / 3) / 3),
    }


@pytest.mark.parametrize(
    ("threshold", "silent", "exact", "no_answer"),
    [(0.0, [1, 0, 1, 1], 2 / 4, 1.0), (0.5, [0, 0, 1, 1], 3 / 4, 1.0), (2.0, [0, 0, 0, 1], 2 / 4, 0.5)],
)
def test_silence_where_its_score_is_higher_by_more_than_the_threshold(
    threshold: float, silent: list[int], exact: float, no_answer: float, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Questions 0 and 1 have answers, 2 and 3 have none; their margins are 0.5, -2, 1 and 4."""
    rows = questions(6, start=1, unanswerable=True)
    rows = [row for row in rows if row["answers"]["text"]][:2] + [row for row in rows if not row["answers"]["text"]]
    examples = encoded(rows, tokenizer)
    wanted = [answers["text"] for answers in examples.rows.table["answers"]]
    spans = {0: [(wanted[0][0], -3.0)], 1: [("was", -1.0)], 2: [("was", -2.0)], 3: [("was", -5.0)]}
    predictions = predicted(examples, spans, {0: -2.5, 1: -3.0, 2: -1.0, 3: -1.0})
    task = dataclasses.replace(TASK, null_threshold=threshold)
    table = task.prediction_table(predictions, examples)
    assert table["null_margin"] == [0.5, -2.0, 1.0, 4.0]
    assert [answer == "" for answer in table["prediction"]] == [bool(one) for one in silent]
    assert table["best_span"] == [wanted[0][0], "was", "was", "was"]
    assert all(end == 0 for end, one in zip(table["char_end"], silent, strict=True) if one)
    metrics = task.score(predictions, examples)
    assert metrics["exact_match"] == metrics["f1"] == exact
    assert metrics["no_answer_accuracy"] == no_answer
    assert (metrics["best_f1"], metrics["best_null_threshold"]) == (3 / 4, 0.5) == best_threshold(table)


def test_a_question_that_leaves_no_room_is_answered_with_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = questions(2, start=1)
    rows[1]["question"] = "How? " * 40
    examples = encoded(rows, tokenizer)
    assert set(examples.fixed["row"].tolist()) == {0}
    table = TASK.prediction_table(predicted(examples, {0: [("was", -1.0)]}, {}), examples)
    assert table["prediction"] == ["was", ""]
    assert table["count"].tolist()[1] == 0
    assert (table["exact_match"][1], table["f1"][1]) == (0, 0)


@pytest.mark.parametrize(
    ("question", "context", "answers", "reason"),
    [
        ("Who?", "a b", {"text": ["b"], "answer_start": [2]}, None),
        ("Who?", "a b", {"text": [], "answer_start": []}, None),  # known to have none
        (" ", "a b", "b", "an empty question"),
        ("Who?", None, "b", "an empty context"),
        ("Who?", "a b", "c", "an answer that does not stand in its context"),
        ("Who?", "a b", None, "no answers"),
        ("Who?", "a b", "", "no answers"),
        ("Who?", "a b", 3, "answers of an unknown form"),
    ],
)
def test_rows_that_cannot_be_used(question: Any, context: Any, answers: Any, reason: str | None) -> None:
    assert TASK.reasons_to_leave_out({"question": [question], "context": [context], "answers": [answers]}) == [reason]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("stride", value) for value in (-1, 40, 41)),
        ("max_answer_tokens", 0),
        ("n_best", 0),
        ("null_threshold", float("nan")),
        ("max_length", 1),
    ],
)
def test_settings_that_cannot_be(setting: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"{setting} must be"):
        dataclasses.replace(TASK, **{setting: value})


def test_windows_are_kept_by_all_that_they_depend_on() -> None:
    same = [TASK, QuestionAnswering(max_length=40, stride=8, n_best=3, max_answer_tokens=2, null_threshold=1.0)]
    assert same[0].encoding_settings() == same[1].encoding_settings()
    for change in ({"stride": 9}, {"max_length": 41}):
        assert dataclasses.replace(TASK, **change).encoding_settings() != TASK.encoding_settings()
