"""Rows as the task needs them, and what was left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llama_experiments.data.rows import Rows, class_indices, class_names, load_rows
from llama_experiments.data.sources import LocalFiles
from llama_experiments.errors import UserError
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.question_answering import QuestionAnswering
from tests.conftest import write_table

ROWS: list[tuple[object, ...]] = [("a", 1), ("", 0), ("b", 0), ("  ", 1), ("c", 1), ("d", 0)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Six rows, two of them empty, as both parts."""
    file = str(write_table(tmp_path / "rows.csv", ROWS, header=("sentence", "label")))
    return {"train": file, "validation": file}


def test_empty_texts_are_counted_and_rows_keep_their_numbers(files: dict[str, str]) -> None:
    dataset = LocalFiles(**files, columns={"text": "sentence"})  # type: ignore[arg-type]
    rows = load_rows(dataset, SequenceClassification())["train"]
    assert rows.table["text"][:] == ["a", "b", "c", "d"]
    assert rows.numbers.tolist() == [1, 3, 5, 6]
    assert rows.left_out == {"an empty text": 2}
    assert class_names(rows, None) == ["0", "1"]
    assert class_indices(rows, ["bad", "good"]) == [1, 0, 1, 0]


def test_a_subset_is_a_function_of_its_seed(files: dict[str, str]) -> None:
    def numbers(seed: int) -> list[int]:
        dataset = LocalFiles(**files, columns={"text": "sentence"}, train_examples=3, subset_seed=seed)  # type: ignore[arg-type]
        rows = load_rows(dataset, SequenceClassification())["train"]
        assert len(rows) + sum(rows.left_out.values()) == 3
        return list(rows.numbers.tolist())

    assert numbers(0) == numbers(0)
    assert len({tuple(numbers(seed)) for seed in range(6)}) > 1


def test_a_label_outside_the_names_is_told_with_its_row(files: dict[str, str], tmp_path: Path) -> None:
    dataset = LocalFiles(**files, columns={"text": "sentence"})  # type: ignore[arg-type]
    rows = load_rows(dataset, SequenceClassification())["train"]
    with pytest.raises(UserError, match=r"row 1 of rows\.csv has the label '1', which is none of 2, 3"):
        class_indices(rows, ["2", "3"])


def test_a_missing_label_is_no_class(tmp_path: Path) -> None:
    file = str(write_table(tmp_path / "rows.csv", [("a", "x"), ("b", ""), ("c", "y")]))
    rows = load_rows(LocalFiles(train=file, validation=file), SequenceClassification())["train"]
    with pytest.raises(UserError, match=r"row 2 of rows\.csv has no label"):
        class_names(rows, None)


def texts_of(rows: Rows) -> list[str]:
    return list(rows.table["text"][:])


def test_a_part_of_the_training_rows_is_held_out(tmp_path: Path) -> None:
    """Each text twice, written differently, and one of no use."""
    made = [
        ("", "a"),
        *((f"Text {n}", "ab"[n % 2]) for n in range(60)),
        *((f"text  {n}", "ab"[n % 2]) for n in range(60)),
    ]
    dataset = LocalFiles(train=str(write_table(tmp_path / "rows.csv", made)))
    rows = load_rows(dataset, SequenceClassification())
    assert list(rows) == ["train", "validation"]
    assert [len(part) for part in rows.values()] == [108, 12]
    for label in "ab":
        assert rows["validation"].table["label"][:].count(label) == 6
    inside, outside = ({text.lower().replace("  ", " ") for text in texts_of(part)} for part in rows.values())
    assert not inside & outside
    assert len(inside | outside) == 60
    for part in rows.values():
        assert [made[number - 1][0] for number in part.numbers] == texts_of(part)
    assert (rows["train"].where, rows["validation"].where) == (
        "rows.csv, all but the 10% held out with seed 0",
        "rows.csv, the 10% held out with seed 0",
    )
    assert (rows["train"].left_out, rows["validation"].left_out) == ({"an empty text": 1}, {})


def test_subsets_are_taken_of_what_is_held_out_and_of_the_rest(tmp_path: Path) -> None:
    def numbers(**settings: int) -> list[set[int]]:
        dataset = LocalFiles(train=file, validation_share=0.2, **settings)  # type: ignore[arg-type]
        return [set(part.numbers.tolist()) for part in load_rows(dataset, SequenceClassification()).values()]

    file = str(write_table(tmp_path / "rows.csv", [(f"text {n}", n % 2) for n in range(100)]))
    train, validation = numbers()
    some, few = numbers(train_examples=30, validation_examples=5)
    assert (len(train), len(validation), len(some), len(few)) == (80, 20, 30, 5)
    assert some < train
    assert few < validation
    assert numbers(subset_seed=1)[1] != validation


def test_questions_on_one_passage_are_on_one_side(tmp_path: Path) -> None:
    made = [(f"which {n}?", f"The passage number {n // 4}.", "number") for n in range(80)]
    file = str(write_table(tmp_path / "rows.csv", made, header=("question", "context", "answers")))
    rows = load_rows(LocalFiles(train=file), QuestionAnswering(max_length=64, stride=8))
    inside, outside = (set(part.table["context"][:]) for part in rows.values())
    assert (len(inside), len(outside)) == (18, 2)
    assert not inside & outside


def test_a_test_part_is_read_beside_the_others(files: dict[str, str], tmp_path: Path) -> None:
    test = str(write_table(tmp_path / "test.csv", ROWS[::-1], header=("sentence", "label")))
    settings = {**files, "columns": {"text": "sentence"}, "test": test}
    rows = load_rows(LocalFiles(**settings), SequenceClassification())  # type: ignore[arg-type]
    assert list(rows) == ["train", "validation", "test"]
    assert texts_of(rows["test"]) == ["d", "c", "b", "a"]
    assert (rows["test"].where, rows["test"].numbers.tolist()) == ("test.csv", [1, 2, 4, 6])
    some = load_rows(LocalFiles(**settings, test_examples=2), SequenceClassification())["test"]  # type: ignore[arg-type]
    assert len(some) + sum(some.left_out.values()) == 2


def rows_of(labels: list[object], feature: object = None) -> Rows:
    import datasets

    features = datasets.Features({"label": feature or datasets.Json()})
    table = datasets.Dataset.from_dict({"label": labels}, features=features)
    return Rows("train", "rows.jsonl", table, np.arange(len(labels)) + 1, {})


@pytest.mark.parametrize(
    ("labels", "dtype", "names", "indices"),
    [
        ([10, 9, 10], "int64", ["9", "10"], [1, 0, 1]),  # as numbers, not as words
        ([1.0, 0.0, 1.0], "float64", ["0", "1"], [1, 0, 1]),
        (["b", " a", "b "], "string", ["a", "b"], [1, 0, 1]),
        ([True, False, True], "bool", ["False", "True"], [1, 0, 1]),
        ([1, "x", "1"], None, ["1", "x"], [0, 1, 0]),  # what JSON may mix
    ],
)
def test_labels_of_every_type(labels: list[object], dtype: str | None, names: list[str], indices: list[int]) -> None:
    import datasets

    rows = rows_of(labels, dtype and datasets.Value(dtype))
    assert class_names(rows, None) == names
    assert class_indices(rows, names) == indices


def test_names_of_the_source_are_the_names() -> None:
    import datasets

    rows = rows_of([2, 0, 2], datasets.ClassLabel(names=["bad", "so-so", "good"]))
    assert class_names(rows, None) == ["bad", "so-so", "good"]
    assert class_names(rows, ["0", "1", "2"]) == ["0", "1", "2"]
    assert class_indices(rows, ["bad", "so-so", "good"]) == [2, 0, 2]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_no_number_is_no_label(missing: object) -> None:
    import datasets

    rows = rows_of([1.0, missing, 0.0], datasets.Value("float64"))
    for read in (lambda: class_names(rows, None), lambda: class_indices(rows, ["0", "1"])):
        with pytest.raises(UserError, match=r"row 2 of rows\.jsonl has no label"):
            read()
