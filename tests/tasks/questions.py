"""Questions made up, encoded as a run encodes them; used by the tests beside."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset as Table
from transformers import PreTrainedTokenizerFast

from llama_experiments.data.answers import answer_columns
from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.data.tokenized import encode
from llama_experiments.tasks.question_answering import QuestionAnswering
from tests.conftest import BAD, GOOD, THINGS

TASK = QuestionAnswering(max_length=40, stride=8)  # contexts below are up to 80 tokens


def questions(count: int, start: int = 0, unanswerable: bool = False) -> list[dict[str, Any]]:
    """Rows of several lengths, most of several windows; every third is without an answer if asked for."""
    rows = []
    for number in range(start, start + count):
        thing, word = THINGS[number % 8], GOOD[(number * 3) % 8]
        before = "".join(f"The {THINGS[(number + k) % 8]} was {BAD[k]}. " for k in range(1, number % 5))
        context = f"{before}The {thing} was {word}, number {number}." + " It was noisy and cold." * (number % 4)
        silent = unanswerable and number % 3 == 0
        rows.append(
            {
                "question": f"How was the {'price' if silent else thing}?",
                "context": context,
                "answers": {
                    "text": [] if silent else [word, f"{word}, number {number}"],
                    "answer_start": [] if silent else [context.index(word)] * 2,
                },
            }
        )
    return rows


def rows_of(rows: list[dict[str, Any]]) -> Rows:
    table = Table.from_list(rows).cast_column("answers", answer_columns())
    return Rows("validation", "made.json", table, np.arange(len(rows)) + 1, {})


def encoded(
    rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerFast, task: QuestionAnswering = TASK
) -> Examples:
    with tempfile.TemporaryDirectory() as folder:
        return encode(task.prepared(rows_of(rows)), task, tokenizer, Path(folder))
