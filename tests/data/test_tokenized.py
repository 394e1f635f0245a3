"""Tokenized rows are kept by content: found again where nothing changed, and never found where anything did."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset as Table
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from llama_experiments.data import tokenized
from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.data.tokenized import encode
from llama_experiments.errors import UserError
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.text_generation import TextGeneration

TEXTS = ["one kettle", "two warm kettles", "three", "a dull and clumsy train", "five of them"]
SENTIMENT, TEXT_GENERATION = (
    SequenceClassification(max_length=8, labels=["bad", "good"]),
    TextGeneration(max_length=8),
)


def rows_of(texts: list[str], labels: list[int] | None = None, part: str = "train", where: str = "a.csv") -> Rows:
    labels = labels or [index % 2 for index in range(len(texts))]
    table = Table.from_dict({"text": texts, "label": labels})
    return Rows(part, where, table, np.arange(len(texts)) + 1, {})


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each call of a task's `encode`."""
    made: list[int] = []
    for task in (SequenceClassification, TextGeneration):
        original = task.encode

        def counted(self: Task, columns: Any, first: int, tokenizer: Any, original: Any = original) -> Any:
            made.append(len(columns["text"]))
            return original(self, columns, first, tokenizer)

        monkeypatch.setattr(task, "encode", counted)
    return made


def same(one: Examples, other: Examples) -> bool:
    """Whether two parts hold the same numbers in the same columns."""
    if one.fixed.keys() != other.fixed.keys() or one.ragged.keys() != other.ragged.keys():
        return False
    fixed = all(np.array_equal(values, other.fixed[name]) for name, values in one.fixed.items())
    return fixed and all(
        np.array_equal(values, other.ragged[name][0]) and np.array_equal(offsets, other.ragged[name][1])
        for name, (values, offsets) in one.ragged.items()
    )


@pytest.mark.parametrize("task", [SENTIMENT, TEXT_GENERATION])
def test_the_same_content_is_encoded_once(
    task: Task, tokenizer: PreTrainedTokenizerFast, tokenizer_folder: Path, calls: list[int], tmp_path: Path
) -> None:
    first = encode(rows_of(TEXTS), task, tokenizer, tmp_path)
    # Where the rows are from, which part they are and which object reads them changes no token.
    elsewhere = rows_of(TEXTS, part="validation", where="b.csv")
    found = encode(elsewhere, task, load_tokenizer(tokenizer_folder), tmp_path)
    assert calls == [5]
    assert same(first, found)
    assert first.fixed["row"].max() == 4


@pytest.mark.parametrize("task", [SENTIMENT, TEXT_GENERATION])
def test_what_is_kept_is_what_the_task_encodes(
    task: Task, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    expected = task.encode({"text": TEXTS, "label": [0, 1, 0, 1, 0]}, 0, tokenizer)
    for _ in ("written", "found"):
        found = encode(rows_of(TEXTS), task, tokenizer, tmp_path)
        values, offsets = found.ragged["input_ids"]
        rows = [values[start:end].tolist() for start, end in itertools.pairwise(offsets)]
        assert rows == expected["input_ids"]
        assert {name: column.tolist() for name, column in found.fixed.items()} == {
            name: column for name, column in expected.items() if name != "input_ids"
        }


@pytest.mark.parametrize(
    ("task", "texts", "labels"),
    [
        (SENTIMENT, [*TEXTS[:4], "nine of them"], None),
        (SENTIMENT, [*TEXTS, "six"], None),
        (SENTIMENT, TEXTS[:4], None),
        (SENTIMENT, [TEXTS[1], TEXTS[0], *TEXTS[2:]], [1, 0, 0, 1, 0]),  # the same rows in another order
        (SENTIMENT, TEXTS, [1, 0, 0, 1, 0]),  # other labels
        (SENTIMENT, ["one kettle" + TEXTS[1], *TEXTS[2:]], None),  # the same letters between other bounds
        (SequenceClassification(max_length=9, labels=["bad", "good"]), TEXTS, None),
        (TextGeneration(max_length=8), TEXTS, None),
    ],
)
def test_other_rows_or_settings_are_encoded_anew(
    task: Task,
    texts: list[str],
    labels: list[int] | None,
    tokenizer: PreTrainedTokenizerFast,
    calls: list[int],
    tmp_path: Path,
) -> None:
    first = encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path)
    found = encode(rows_of(texts, labels), task, tokenizer, tmp_path)
    assert calls == [5, len(texts)]
    assert not same(first, found) or task.max_length == 9  # no text here is long enough to be cut at 9
    assert len(list(tmp_path.glob("*.arrow"))) == 2


def test_another_tokenizer_encodes_anew(
    tokenizer: PreTrainedTokenizerFast, tokenizer_folder: Path, calls: list[int], tmp_path: Path
) -> None:
    first = encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path)
    other = load_tokenizer(tokenizer_folder)
    other.backend_tokenizer.post_processor = TemplateProcessing("$A", None, [])
    found = encode(rows_of(TEXTS), SENTIMENT, other, tmp_path)
    assert calls == [5, 5]
    assert not same(first, found)


def test_another_end_of_documents_encodes_anew(
    tokenizer: PreTrainedTokenizerFast, tokenizer_folder: Path, calls: list[int], tmp_path: Path
) -> None:
    """The same tokenizer.json beside another tokenizer_config.json, as base and chat models have."""
    encode(rows_of(TEXTS), TEXT_GENERATION, tokenizer, tmp_path)
    other = load_tokenizer(tokenizer_folder)
    other.eos_token = "<unk>"
    assert other.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert other.eos_token_id != tokenizer.eos_token_id
    values, offsets = encode(rows_of(TEXTS), TEXT_GENERATION, other, tmp_path).ragged["input_ids"]
    assert calls == [5, 5]
    assert values[offsets[-1] - 1] == other.eos_token_id


def test_a_new_version_of_the_encoding_forgets_the_old(
    tokenizer: PreTrainedTokenizerFast, calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path)
    monkeypatch.setattr(tokenized, "VERSION", tokenized.VERSION + 1)
    encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path)
    assert calls == [5, 5]


@pytest.mark.parametrize("task", [SENTIMENT, TEXT_GENERATION])
def test_rows_in_several_batches_are_the_same_examples(
    task: Task, tokenizer: PreTrainedTokenizerFast, calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = encode(rows_of(TEXTS), task, tokenizer, tmp_path / "at_once")
    monkeypatch.setattr(tokenized, "BATCH_ROWS", 2)
    assert same(encode(rows_of(TEXTS), task, tokenizer, tmp_path / "in_batches"), at_once)
    assert calls == [5, 2, 2, 1]


def test_examples_lie_in_the_mapped_file_not_in_memory(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenized, "BATCH_ROWS", 100)
    rows = rows_of(TEXTS * 200)
    encode(rows, SENTIMENT, tokenizer, tmp_path)
    before = pa.total_allocated_bytes()
    found = encode(rows, SENTIMENT, tokenizer, tmp_path)
    arrays = [array for pair in found.ragged.values() for array in pair] + list(found.fixed.values())
    assert all(not array.flags.owndata and not array.flags.writeable for array in arrays)
    assert sum(array.nbytes for array in arrays) > 30_000
    assert pa.total_allocated_bytes() - before < 1_000


class Stopped(Exception):
    """As by a crash."""


def test_half_a_file_is_never_seen(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenized, "BATCH_ROWS", 2)
    original, seen = SequenceClassification.encode, []

    def stops(self: SequenceClassification, columns: Any, first_row: int, tokenizer: Any) -> Any:
        seen.append([path.name for path in tmp_path.glob("*.arrow")])
        if first_row == 4:
            raise Stopped
        return original(self, columns, first_row, tokenizer)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceClassification, "encode", stops)
        with pytest.raises(Stopped):
            encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path)
    assert seen == [[], [], []]
    assert not list(tmp_path.iterdir())  # nor is anything left lying about
    assert len(encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path)) == 5


def test_what_a_killed_process_left_is_no_hindrance(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    expected = encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path / "whole")
    (kept,) = (tmp_path / "whole").iterdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f".{kept.name}.abc123").write_bytes(kept.read_bytes()[:100])
    assert same(encode(rows_of(TEXTS), SENTIMENT, tokenizer, tmp_path / "cache"), expected)


@pytest.mark.parametrize("batch_rows", [1, 100])
def test_rows_without_an_example_are_passed_over(
    batch_rows: int, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document of one token has no next token to predict; the first rows and the last may all be such."""
    monkeypatch.setattr(tokenized, "BATCH_ROWS", batch_rows)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("$A", None, [])
    tokenizer.eos_token = None
    one_token = "the"
    assert len(tokenizer(one_token)["input_ids"]) == 1
    examples = encode(rows_of([one_token, TEXTS[1], one_token]), TEXT_GENERATION, tokenizer, tmp_path)
    assert set(examples.fixed["row"].tolist()) == {1}
    with pytest.raises(UserError, match=r"dataset\.train: no row of a\.csv makes an example: they are too short"):
        encode(rows_of([one_token, one_token]), TEXT_GENERATION, tokenizer, tmp_path)


def test_the_content_hash_is_of_the_rows_alone() -> None:
    expected = rows_of(TEXTS).content_hash
    assert rows_of(TEXTS, part="validation", where="b.csv").content_hash == expected
    changed = [rows_of(TEXTS[::-1], [0, 1, 0, 1, 0]), rows_of(TEXTS, [1, 1, 0, 1, 0]), rows_of(TEXTS[:4])]
    assert len({expected, *(rows.content_hash for rows in changed)}) == 4
