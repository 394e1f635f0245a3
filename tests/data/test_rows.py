"""Rows as the task needs them, and what was left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.data.rows import class_indices, class_names, load_rows
from llama_experiments.data.sources import LocalFiles
from llama_experiments.errors import UserError
from llama_experiments.tasks.classification import SequenceClassification
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
