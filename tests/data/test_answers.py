"""Answers in the forms that people store them in, and whether they stand where they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset as Table

from llama_experiments.data.answers import (
    ABSENT,
    MOVED,
    NOWHERE,
    Answers,
    locate,
    located,
    read_answers,
    why_unusable,
)
from llama_experiments.data.rows import Rows

CONTEXT = "The cat sat on the mat; the dog sat by the e\u0301tude 🦙."


@pytest.mark.parametrize(
    ("value", "texts", "starts"),
    [
        ({"text": ["a", "b"], "answer_start": [0, 4]}, ["a", "b"], [0, 4]),  # SQuAD's columns
        ({"text": ["a", "b"], "answer_start": None}, ["a", "b"], [NOWHERE, NOWHERE]),
        ({"text": ["a"]}, ["a"], [NOWHERE]),
        ({"text": [], "answer_start": []}, [], []),  # known to have none
        ([{"text": "a", "answer_start": 3}, {"text": "b"}], ["a", "b"], [3, NOWHERE]),  # SQuAD's JSON
        ([], [], []),
        ({"text": "a", "answer_start": 3}, ["a"], [3]),
        ({"text": "a"}, ["a"], [NOWHERE]),
        ("a", ["a"], [NOWHERE]),  # a field of a CSV
        (["a", "b"], ["a", "b"], [NOWHERE, NOWHERE]),
        (("a",), ["a"], [NOWHERE]),
    ],
)
def test_forms_that_are_read(value: Any, texts: list[str], starts: list[int]) -> None:
    assert read_answers(value) == Answers(texts, starts)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", 3, 1.5, float("nan"), True, b"a", {}, {"answers": "a"}),
        *({"text": None, "answer_start": None}, {"text": 3, "answer_start": 0}, [None], [3], [["a"]], [{"start": 0}]),
        {"text": ["a", "b"], "answer_start": [0]},  # fewer places than answers
        {"text": ["a"], "answer_start": [0, 4]},
        {"text": ["a"], "answer_start": 0},
        {"text": ["a"], "answer_start": ["0"]},
        {"text": ["a"], "answer_start": [None]},
        {"text": ["a", None], "answer_start": [0, 1]},
        {"text": ["a"], "answer_start": [1.5]},
    ],
    ids=str,
)
def test_what_is_no_answer(value: Any) -> None:
    assert read_answers(value) is None


@pytest.mark.parametrize(
    ("text", "given", "found"),
    [
        ("cat", 4, 4),  # where it says
        ("the", 24, 24),  # of several, the one it says
        ("cat", 5, 4),  # put right: it stands only once
        ("cat", NOWHERE, 4),
        ("cat", 10_000, 4),  # past the end
        ("cat", 4 - len(CONTEXT), 4),  # no place from the end
        ("the", 25, NOWHERE),  # there are several: which one?
        ("sat", NOWHERE, NOWHERE),
        ("bird", 4, NOWHERE),
        ("Cat", 4, NOWHERE),  # as it is written
        ("e\u0301tude", NOWHERE, 43),  # offsets count code points, not bytes
        ("étude", NOWHERE, NOWHERE),  # of which this word has one fewer
        ("🦙", 50, 50),
        ("🦙", 0, 50),
        (CONTEXT, 0, 0),
        ("", 0, NOWHERE),
        (" ", 3, NOWHERE),  # nothing to point at
    ],
)
def test_an_answer_stands_where_it_says_or_where_it_stands_once(text: str, given: int, found: int) -> None:
    right = locate(CONTEXT, Answers([text], [given]))
    assert right == Answers([text], [found])
    assert right.spans == ([(found, found + len(text))] if found != NOWHERE else [])
    assert all(CONTEXT[start:end] == text for start, end in right.spans)


def test_a_repeated_text_that_overlaps_itself_stands_twice() -> None:
    assert locate("aaa", Answers(["aa"], [NOWHERE])).starts == [NOWHERE]
    assert locate("aaa", Answers(["aa"], [1])).starts == [1]


def test_each_reference_is_located_for_itself() -> None:
    answers = locate(CONTEXT, Answers(["cat", "bird", "dog"], [0, 0, 28]))
    assert answers.starts == [4, NOWHERE, 28]
    assert answers.spans == [(4, 7), (28, 31)]


@pytest.mark.parametrize(
    ("question", "context", "value", "why"),
    [
        ("Who?", CONTEXT, "cat", None),
        ("Who?", CONTEXT, [], None),
        ("Who?", CONTEXT, ["bird", "cat"], None),  # one is enough
        ("", CONTEXT, "cat", "an empty question"),
        (None, CONTEXT, "cat", "an empty question"),
        ("Who?", " \n", "cat", "an empty context"),
        ("Who?", float("nan"), "cat", "an empty context"),
        ("Who?", CONTEXT, None, "no answers"),
        ("Who?", CONTEXT, "", "no answers"),
        ("Who?", CONTEXT, {"text": None}, "answers of an unknown form"),
        ("Who?", CONTEXT, 7, "answers of an unknown form"),
        ("Who?", CONTEXT, "bird", "an answer that does not stand in its context"),
        ("Who?", CONTEXT, "the", "an answer that does not stand in its context"),
        ("Who?", CONTEXT, [" "], "an answer that does not stand in its context"),
    ],
)
def test_why_a_row_cannot_be_used(question: Any, context: Any, value: Any, why: str | None) -> None:
    assert why_unusable(question, context, value) == why


def test_what_was_put_right_is_told_by_its_row() -> None:
    values = [
        {"text": ["cat"], "answer_start": [4]},
        {"text": ["cat"], "answer_start": [5]},
        {"text": ["cat", "bird"], "answer_start": [4, 4]},
        {"text": ["cat"], "answer_start": [NOWHERE]},  # which said nothing that was wrong
    ]
    table = Table.from_dict({"question": ["Who?"] * 4, "context": [CONTEXT] * 4, "answers": values})
    rows = located(Rows("train", "rows.json", table, np.array([1, 3, 7, 9]), {}))
    assert rows.repaired == {MOVED: [3], ABSENT: [7]}


def test_rows_get_squads_columns_with_right_offsets() -> None:
    forms: dict[str, list[Any]] = {
        "texts": ["cat", "dog"],
        "objects": [[{"text": "cat", "answer_start": 0}], [{"text": "dog", "answer_start": 28}]],
        "columns": [{"text": ["cat"], "answer_start": [1]}, {"text": ["dog"], "answer_start": [28]}],
    }
    for values in forms.values():
        table = Table.from_dict({"question": ["Who?"] * 2, "context": [CONTEXT] * 2, "answers": values})
        rows = located(Rows("train", "rows.json", table, np.array([3, 7]), {}))
        assert rows.table["answers"][:] == [
            {"text": ["cat"], "answer_start": [4]},
            {"text": ["dog"], "answer_start": [28]},
        ]
        assert rows.table["question"][:] == ["Who?"] * 2
        assert rows.numbers.tolist() == [3, 7]


def test_rows_that_were_repaired_are_told() -> None:
    """Answers without an offset are found and nothing is wrong with them; an absent one stands beside another."""
    answers = [
        {"text": ["cat"], "answer_start": [4]},
        {"text": ["cat"], "answer_start": [1]},
        {"text": ["cat"], "answer_start": [-1]},
        {"text": ["dog", "fox"], "answer_start": [0, 9]},
        {"text": [], "answer_start": []},
    ]
    table = Table.from_dict({"context": [CONTEXT] * 5, "answers": answers})
    rows = located(Rows("train", "rows.json", table, np.array([3, 7, 8, 9, 10]), {}))
    assert rows.repaired == {MOVED: [7, 9], ABSENT: [9]}
