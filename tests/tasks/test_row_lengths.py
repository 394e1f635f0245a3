"""How long rows are before they are cut, and what cutting does to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset as Table
from transformers import PreTrainedTokenizerFast

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration
from tests.tasks.questions import encoded, questions


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


@pytest.mark.parametrize(("max_length", "stride"), [(500, 20), (60, 20), (40, 8), (40, 0), (24, 23)])
def test_a_question_and_its_context_are_as_long_as_in_one_window(
    max_length: int, stride: int, tokenizer: PreTrainedTokenizerFast
) -> None:
    """The windows of `stride` 23 begin a token apart, since the question leaves no room for more to be shared."""
    rows = questions(12)
    task = QuestionAnswering(max_length=max_length, stride=stride)
    whole = encoded(rows, tokenizer, QuestionAnswering(max_length=1000))
    assert len(whole) == len(rows)
    cut = encoded(rows, tokenizer, task)
    assert task.row_tokens(cut).tolist() == whole.lengths.tolist()
    windowed = task.length_findings(cut)["cut into windows"]
    assert windowed.tolist() == (whole.lengths > max_length).tolist()


def question(text: str, context: str, *answers: str) -> dict[str, Any]:
    starts = [context.index(answer) for answer in answers]
    return {"question": text, "context": context, "answers": {"text": [*answers], "answer_start": starts}}


def test_answers_that_are_cut_off_and_questions_without_room(tokenizer: PreTrainedTokenizerFast) -> None:
    long = "The film was lovely and the book was dull and the kettle was noisy and the train was cold."
    rows = [
        question("What?", long, "lovely"),
        question("What?", long, "the kettle was noisy and the train was cold"),  # longer than what a window holds
        question("What? " * 40, long, "lovely"),
        question("What?", long),  # no answer: nothing is cut off
        question("What?", "A film.", "film"),
    ]
    task = QuestionAnswering(max_length=24, stride=8)
    found = task.length_findings(encoded(rows, tokenizer, task))
    assert {what: np.flatnonzero(mask).tolist() for what, mask in found.items()} == {
        "cut into windows": [0, 1, 3],
        "with an answer that no window holds whole": [1],
        "with a question that leaves no room for the context": [2],
    }
    roomy = QuestionAnswering(max_length=400)
    assert not any(mask.any() for mask in roomy.length_findings(encoded(rows, tokenizer, roomy)).values())


@pytest.mark.parametrize("max_length", [2, 5, 8, 100])
def test_documents(max_length: int, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["one", "A film and a kettle.", "", "The train was cold and the hotel was warm and so was the song."]
    end = tokenizer.eos_token_id
    whole = [len(ids) + 1 for ids in tokenizer(texts)["input_ids"]]
    task = TextGeneration(max_length=max_length)
    rows = Rows("train", "x", Table.from_dict({"text": texts}), np.arange(4) + 1, {})
    examples = Examples(pa.table(task.encode({"text": texts}, 0, tokenizer)), rows)
    assert end is not None
    assert task.row_tokens(examples).tolist() == whole
    found = task.length_findings(examples)
    assert found["cut into windows"].tolist() == [length > max_length for length in whole]
    assert not found["too short to learn from"].any()
