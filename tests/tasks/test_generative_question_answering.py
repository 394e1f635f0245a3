"""Answers that the model writes: what is learned, which rows are answered, and EM and F1 of greedy answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.data.tokenized import encode
from llama_experiments.errors import SettingError
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks import generation
from llama_experiments.tasks.generative_question_answering import GenerativeQuestionAnswering
from llama_experiments.tasks.squad_metrics import exact_match, f1
from tests.tasks.conftest import Load

SHORT = "{context} {question}"  # the tiny model has 64 positions
TASK = GenerativeQuestionAnswering(max_length=60, answer_tokens=5, template=SHORT)
THINGS = ["kettle", "train", "film", "garden", "hotel", "song", "book", "play", "train was", "film and"]


def rows_of(answers: list[Any]) -> Rows:
    table = datasets.Dataset.from_list(
        [
            {"question": f"What was the {thing}?", "context": f"The {thing} was warm.", "answers": answer}
            for thing, answer in zip(THINGS, answers, strict=False)
        ]
    )
    return Rows("validation", "qa.jsonl", table, np.arange(len(answers)) + 1, {})


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


def with_bias(model: PreTrainedModel, bias: dict[int, float], otherwise: float = 0.0) -> PreTrainedModel:
    """The model with some tokens likelier than the others, whatever was written."""
    head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.copy_(torch.tensor([bias.get(token, otherwise) for token in range(model.config.vocab_size)]))
    model.lm_head = head
    return model


def greedy(model: PreTrainedModel, prompt: str, tokenizer: PreTrainedTokenizerFast, tokens: int) -> str:
    """By hand: the prompt's tokens, then always the likeliest; the first line of it."""
    ids = tokenizer(prompt)["input_ids"]
    given = len(ids)
    with torch.no_grad():
        while len(ids) < given + tokens:
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            ids.append(token)
    return str(tokenizer.decode(ids[given:], skip_special_tokens=True)).strip().split("\n")[0].strip()


def filled(row: dict[str, Any]) -> str:
    return SHORT.format(context=row["context"], question=row["question"])


def evaluated(
    task: GenerativeQuestionAnswering, rows: Rows, model: PreTrainedModel, tokenizer: Any, folder: Path
) -> tuple[Examples, dict[str, Any]]:
    examples = encode(task.prepared(rows), task, tokenizer, folder)
    written = task.write(model, tokenizer, examples)
    losses = np.arange(len(examples), dtype=float)
    return examples, {"loss": losses, "row": examples.fixed["row"], "count": examples.counts, **written.predictions}


def test_the_answer_alone_is_learned_after_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = rows_of([{"text": ["warm", "very warm"], "answer_start": [15, -1]}, {"text": [], "answer_start": []}])
    encoded = GenerativeQuestionAnswering().encode(rows.table[:], 0, tokenizer)
    for index, answer in enumerate(["warm", "no answer"]):
        ids, mask, row = encoded["input_ids"][index], encoded["scored"][index], rows.table[index]
        asked = f"Passage: {row['context']}\nQuestion: {row['question']}\nAnswer:"
        prompt = tokenizer(asked)["input_ids"]
        assert ids[: len(prompt)] == prompt
        assert mask == [0] * len(prompt) + [1] * (len(ids) - len(prompt))
        assert tokenizer.decode(ids[len(prompt) :]) == f"{answer}</s>"
        assert encoded["bytes"][index] == len(f" {answer}")


def test_scores_are_of_greedy_answers(load: Load, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """The references of every other row are what the model says, so it is right about half of them."""
    vocabulary = tokenizer.get_vocab()
    words = {index: 0.0 for word, index in vocabulary.items() if word[0] == "▁" and word[1:].isalpha()}
    model = with_bias(load(TASK), words, otherwise=-50.0).eval()
    blank = rows_of([["warm"]] * len(THINGS))
    said = [greedy(model, filled(row), tokenizer, TASK.answer_tokens) for row in blank.table]
    assert all(said)
    assert len(set(said)) > 1
    references = [["cold", text.upper()] if at % 2 else [f"{text.split()[0]} warm"] for at, text in enumerate(said)]
    examples, predictions = evaluated(TASK, rows_of(references), model, tokenizer, tmp_path)
    assert predictions["prediction"].tolist() == said
    pairs = list(zip(said, references, strict=True))
    score = TASK.score(predictions, examples)
    assert score["exact_match"] == np.mean([exact_match(*pair) for pair in pairs]) == 0.5
    assert score["f1"] == pytest.approx(np.mean([f1(*pair) for pair in pairs]))
    assert score["f1"] > 0.5
    assert {"perplexity", "bits_per_byte"} <= score.keys()


@pytest.mark.parametrize("wanted", [1, 4, 100])
def test_a_seeded_choice_of_rows_is_answered(
    wanted: int, load: Load, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    task = dataclasses.replace(TASK, answer_tokens=3, generated_examples=wanted)
    rows, model = rows_of([["warm"]] * len(THINGS)), load(TASK).eval()
    examples, predictions = evaluated(task, rows, model, tokenizer, tmp_path)
    answered = [answer is not None for answer in predictions["prediction"]]
    assert sum(answered) == min(wanted, len(THINGS))
    torch.manual_seed(wanted)
    again = task.write(model, tokenizer, examples)
    assert again.predictions["prediction"].tolist() == predictions["prediction"].tolist()
    table = task.prediction_table(predictions, examples)
    assert [value is not None for value in table["exact_match"]] == answered
    assert len(again.samples) == min(3, wanted)
    assert {sample.prompt for sample in again.samples} <= set(rows.table["question"])
    assert pa.table(table).column("prediction").null_count == len(THINGS) - sum(answered)


def test_an_answer_is_one_line(
    load: Load, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that goes on to the next question has answered this one."""
    texts = ["\n warm \nQuestion: what?\nAnswer: cold", "very warm", "", "\n"]
    written = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    monkeypatch.setattr(generation, "generate", lambda *_: written)
    _, predictions = evaluated(TASK, rows_of([["warm"]] * 4), load(TASK).eval(), tokenizer, tmp_path)
    assert predictions["prediction"].tolist() == ["warm", "very warm", "", ""]


def test_no_answer_in_words_is_the_empty_answer(
    load: Load, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rows = rows_of([{"text": [], "answer_start": []}, {"text": ["warm"], "answer_start": [0]}] * 2)
    examples, predictions = evaluated(TASK, rows, load(TASK).eval(), tokenizer, tmp_path)
    predictions["prediction"] = np.array(["no answer", "no answer", "warm", "Warm."], dtype=object)
    table = TASK.prediction_table(predictions, examples)
    assert table["prediction"] == ["", "", "warm", "Warm."]
    assert table["exact_match"] == [1.0, 0.0, 0.0, 1.0]
    assert TASK.score(predictions, examples)["f1"] == 0.5


def test_without_a_tokenizer_there_are_losses_but_no_answers(
    load: Load, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    examples, predictions = evaluated(TASK, rows_of([["warm"]] * 4), load(TASK).eval(), tokenizer, tmp_path)
    del predictions["prediction"]
    assert set(TASK.score(predictions, examples)) == {"perplexity", "bits_per_byte"}
    assert set(TASK.prediction_table(predictions, examples)) == {"row", "loss", "count"}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (("q", "c", {"text": ["not in it"], "answer_start": [0]}), None),
        (("q", "c", {"text": [], "answer_start": []}), None),
        (("q", "c", "text"), None),
        ((" ", "c", ["a"]), "an empty question"),
        (("q", None, ["a"]), "an empty context"),
        (("q", "c", None), "no answers"),
        (("q", "c", 3), "answers of an unknown form"),
        (("q", "c", [" "]), "an empty answer"),
    ],
)
def test_which_rows_can_be_used(row: tuple[Any, Any, Any], why: str | None) -> None:
    columns = {name: [value] for name, value in zip(TASK.columns, row, strict=True)}
    assert TASK.reasons_to_leave_out(columns) == [why]


@pytest.mark.parametrize(
    "template", ["{context} {question} {answer}", "{context}", "{} {question}", "{context {", ""]
)
def test_a_template_without_its_places_is_refused(template: str) -> None:
    with pytest.raises(SettingError, match="template must have the places"):
        GenerativeQuestionAnswering(template=template)


def test_braces_in_a_passage_are_its_own(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = {
        "question": ["{question}?"],
        "context": ["{context} {0}"],
        "answers": [{"text": ["a"], "answer_start": [0]}],
    }
    (ids,) = GenerativeQuestionAnswering(max_length=500).encode(rows, 0, tokenizer)["input_ids"]
    assert "Passage: {context} {0}\nQuestion: {question}?\nAnswer: a" in tokenizer.decode(ids)
