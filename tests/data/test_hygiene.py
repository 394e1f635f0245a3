"""Every count of the hygiene report, on rows of which it is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset as Table

from llama_experiments.data import hygiene as module
from llama_experiments.data.examples import Examples
from llama_experiments.data.hygiene import Finding, Hygiene, check_rows
from llama_experiments.data.rows import Rows
from llama_experiments.data.sources import Dataset, LocalFiles
from llama_experiments.errors import UserError
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration

TASK = SequenceClassification(labels=["bad", "good"])


def settings(**others: Any) -> Dataset:
    return LocalFiles(**{"train": "a.csv", "validation": "b.csv", "near_duplicates": "none"} | others)


def rows_of(part: str, pairs: list[tuple[str, int]], **others: Any) -> Rows:
    """Rows (text, label), numbered in tens."""
    texts, labels = zip(*pairs, strict=True)
    table = Table.from_dict({"text": list(texts), "label": list(labels)})
    return Rows(part, f"{part}.csv", table, 10 * (np.arange(len(pairs)) + 1), {}, **others)


TRAIN = [
    ("A fine film", 1),  # 10
    ("a  FINE film ", 1),  # 20: repeats 10
    ("dull", 0),  # 30
    ("Dull", 1),  # 40: contradicts 30
    ("dull\n", 0),  # 50: contradicts 40, repeats 30
    ("only here", 0),  # 60
    ("on both sides", 1),  # 70
    ("ON BOTH sides", 1),  # 80: repeats 70
    ("with another label there", 0),  # 90
]
EVALUATION = [
    ("new", 0),  # 10
    ("on both\u00a0sides", 1),  # 20
    ("new ", 0),  # 30: repeats 10
    ("With another label there", 1),  # 40
]


def check(dataset: Dataset, **parts: list[tuple[str, int]]) -> tuple[dict[str, Rows], Hygiene]:
    given = parts or {"train": TRAIN, "validation": EVALUATION}
    return check_rows({name: rows_of(name, pairs) for name, pairs in given.items()}, TASK, dataset)


def test_every_count() -> None:
    rows, hygiene = check(settings())
    train, validation = hygiene.parts["train"], hygiene.parts["validation"]
    assert (train.rows, train.classes) == (9, {"bad": 4, "good": 5})
    assert (validation.rows, validation.classes) == (4, {"bad": 2, "good": 2})
    assert train.repeated == Finding(3, [20, 50, 80])
    assert train.contradictory == Finding(3, [30, 40, 50])
    assert train.in_train is None
    assert validation.repeated == Finding(1, [30])
    assert validation.contradictory == Finding(0, [])
    assert validation.in_train == Finding(2, [20, 40])  # whatever their labels
    assert (hygiene.dropped, hygiene.on_problem) == ({}, "report")
    assert [len(part) for part in rows.values()] == [9, 4]
    assert hygiene.problems() == {"train": ["3 repeated", "3 contradictory"],
                                  "validation": ["1 repeated", "2 also in training"]}  # fmt: skip


def test_a_test_part_is_looked_at_like_the_evaluation() -> None:
    _, hygiene = check(settings(), train=TRAIN, validation=EVALUATION, test=[("Dull", 0), ("new", 1)])
    assert hygiene.parts["test"].in_train == Finding(1, [10])
    assert hygiene.problems()["test"] == ["1 also in training"]


def test_nothing_is_found_in_good_rows() -> None:
    _, hygiene = check(settings(near_duplicates="all"), train=TRAIN[5:7], validation=[("new", 0), ("other", 1)])
    assert hygiene.problems() == {}


def test_what_was_left_out_is_listed() -> None:
    given = {
        "train": rows_of("train", TRAIN[5:7]),
        "validation": Rows(
            "validation",
            "b.csv",
            Table.from_dict({"text": ["new"], "label": [0]}),
            np.array([3]),
            {"an empty text": 2},
            {"an empty text": [1, 2]},
        ),
    }
    _, hygiene = check_rows(given, TASK, settings())
    assert hygiene.parts["validation"].left_out == {"an empty text": Finding(2, [1, 2])}
    assert hygiene.problems() == {"validation": ["2 left out (an empty text)"]}


def test_fail_lists_all_counts() -> None:
    with pytest.raises(UserError) as told:
        check(settings(on_problem="fail"))
    assert str(told.value).splitlines()[1:] == [
        "  train: 3 repeated, 3 contradictory",
        "  validation: 1 repeated, 2 also in training",
    ]
    _, hygiene = check(settings(on_problem="fail"), train=TRAIN[5:7], validation=EVALUATION[:1])
    assert hygiene.problems() == {}


def test_drop_leaves_each_row_out_of_training_for_one_reason() -> None:
    rows, hygiene = check(settings(on_problem="drop"))
    assert hygiene.dropped == {"contradictory": 3, "also in evaluation": 3, "repeated": 1}
    assert rows["train"].table["text"][:] == ["A fine film", "only here"]
    assert rows["train"].numbers.tolist() == [10, 60]
    assert rows["validation"].table["text"][:] == [text for text, _ in EVALUATION]
    # The report is on the rows as they came.
    assert hygiene.parts["train"].rows == 9
    again, clean = check_rows(rows, TASK, settings(on_problem="drop"))
    assert clean.dropped == {}
    assert again["train"] is rows["train"]


def test_drop_looks_at_the_test_part_too() -> None:
    pairs = {"train": [*TRAIN[5:7], ("dull", 0)], "validation": EVALUATION[:1], "test": [("DULL", 1)]}
    rows, hygiene = check(settings(on_problem="drop"), **pairs)
    assert hygiene.dropped == {"also in evaluation": 1}
    assert len(rows["train"]) == 2


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ([("new", 0), ("New", 0)], "nothing is left"),
        ([("new", 0), ("x", 1), ("y", 1)], "only the class 'good' is left"),
    ],
)
def test_drop_that_leaves_too_little(train: list[tuple[str, int]], told: str) -> None:
    with pytest.raises(UserError, match=rf"dataset\.on_problem: .*{told}"):
        check(settings(on_problem="drop"), train=train, validation=EVALUATION[:1])


LONG = "a story of a kettle that wanted to be a train and went to the garden to be one at last, which it was"


def test_near_duplicates_are_not_the_equal_ones() -> None:
    train = [(f"{LONG} for {word}", 1) for word in ("me", "you")] + [("something else entirely", 0)]
    validation = [(f"{LONG} for us", 1), (f"{LONG}  For Me", 1), ("wholly new", 0), (f"{LONG} for Us", 0)]
    _, hygiene = check(settings(near_duplicates="sample"), train=train, validation=validation)
    near = hygiene.parts["validation"].near_duplicates
    assert near is not None
    assert near.rows == 2  # the text for us, twice
    assert near.texts == {"train": [3, 3], "validation": [2, 2]}
    (pair,) = near.pairs
    assert (pair["validation"], pair["train"]) == (10, 10)
    assert 0.8 <= pair["similarity"] < 1
    assert "2 nearly in training" in hygiene.problems()["validation"]
    assert check(settings(), train=train, validation=validation)[1].parts["validation"].near_duplicates is None


@pytest.mark.parametrize(
    ("rows", "compared"), [((30, 30), (4, 4)), ((2, 30), (2, 6)), ((30, 2), (6, 2)), ((4, 4), (4, 4))]
)
def test_a_sample_is_of_both_sides(
    rows: tuple[int, int], compared: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE", 8)
    parts = {name: [(f"{name} {number}", number % 2) for number in range(size)]
             for name, size in zip(("validation", "train"), rows, strict=True)}  # fmt: skip
    for setting, expected in (("sample", compared), ("all", rows)):
        near = check(settings(near_duplicates=setting), **parts)[1].parts["validation"].near_duplicates
        assert near is not None
        assert near.texts == {"validation": [expected[0], rows[0]], "train": [expected[1], rows[1]]}


def test_a_sample_depends_on_its_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 40)
    train = [(f"{LONG} number {number}", number % 2) for number in range(60)]
    validation = [(f"{LONG} number {number}!", number % 2) for number in range(60)]
    found = [
        check(settings(near_duplicates="sample", subset_seed=seed), train=train, validation=validation)[1].record()
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


def test_questions_are_the_same_with_their_context_and_contexts_are_passages() -> None:
    def rows(part: str, pairs: list[tuple[str, str]]) -> Rows:
        questions, contexts = zip(*pairs, strict=True)
        answers = [{"text": ["a"], "answer_start": [0]}] * len(pairs)
        table = Table.from_dict({"question": list(questions), "context": list(contexts), "answers": answers})
        return Rows(part, "x", table, np.arange(len(pairs)) + 1, {})

    train = rows("train", [("who?", LONG), ("why?", LONG), ("who?", "a second"), ("Who?", LONG)])
    evaluation = [("when?", LONG), ("who?", "a second "), ("who?", LONG + "!"), ("why?", LONG + "!"), ("who?", "new")]
    parts = {"train": train, "validation": rows("validation", evaluation)}
    _, hygiene = check_rows(parts, QuestionAnswering(), settings(near_duplicates="all"))
    assert hygiene.parts["train"].repeated == Finding(1, [4])
    found = hygiene.parts["validation"]
    assert (found.repeated.rows, found.contradictory.rows, found.classes) == (0, 0, {})
    assert found.in_train == Finding(1, [2])
    assert found.passages_in_train == Finding(2, [1, 2])
    assert found.near_duplicates is not None
    assert found.near_duplicates.rows == 2  # both on the context with a '!'
    assert found.near_duplicates.texts == {"train": [2, 2], "validation": [2, 2]}


def test_lengths() -> None:
    tokens = {"train": [3, 4, 4, 5, 30], "validation": [2, 6]}
    pairs = {name: [(f"{name} {at}", at % 2) for at in range(len(sizes))] for name, sizes in tokens.items()}
    _, hygiene = check(settings(), **pairs)
    examples = {}
    for name, sizes in tokens.items():
        columns = {
            "input_ids": [[1] * min(size, 5) for size in sizes],
            "tokens": sizes,
            "row": list(range(len(sizes))),
            "count": [1] * len(sizes),
        }
        examples[name] = Examples(pa.table(columns), rows_of(name, pairs[name]))
    hygiene.add_lengths(TASK, examples)
    train, validation = hygiene.parts["train"].lengths, hygiene.parts["validation"].lengths
    assert train is not None
    assert validation is not None
    assert (train.total, train.mean, train.median, train.most, train.longest) == (46, 9.2, 4, 30, 30)
    assert (validation.median, validation.most, validation.longest) == (2, 6, 6)
    assert train.findings == {"cut off": Finding(1, [50])}
    assert validation.findings == {"cut off": Finding(1, [20])}
    assert train.histogram["edges"] == validation.histogram["edges"] == list(range(32))
    assert {at: rows for at, rows in enumerate(train.histogram["rows"]) if rows} == {3: 1, 4: 2, 5: 1, 30: 1}
    json.dumps(hygiene.record(), allow_nan=False)


@pytest.mark.parametrize(
    ("tokens", "edges"),
    [
        ([10] * 99 + [20], [*range(22)]),  # a bar for each length
        ([10] * 199 + [21], [*range(12), 22]),  # the last bar is for all that are longer
        ([100] * 10 + [159], [*range(0, 164, 4)]),
        ([1], [0, 1, 2]),
    ],
)
def test_bars(tokens: list[int], edges: list[int]) -> None:
    assert module._edges([np.array(tokens), np.array([1])]).tolist() == edges


def test_documents_have_no_classes_and_no_contradictions() -> None:
    parts = {}
    for name, texts in (("train", ["a tale", "A tale"]), ("validation", ["a tale", "new"])):
        parts[name] = Rows(name, "x", Table.from_dict({"text": texts}), np.array([1, 2]), {})
    _, hygiene = check_rows(parts, TextGeneration(), settings())
    assert hygiene.problems() == {"train": ["1 repeated"], "validation": ["1 also in training"]}
    assert hygiene.parts["train"].classes == {}
