"""The hash of rows' contents: the same however they are stored, another one when anything of them changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset as Table

from llama_experiments.data import content
from llama_experiments.data.content import content_hash
from llama_experiments.data.files import read_files

COLUMNS: dict[str, list[Any]] = {
    "text": ["one", "", "drei über", None, "five"],
    "label": [0, 1, None, 1, 0],
    "answers": [{"text": ["a", "b"], "answer_start": [1, 2]}, {"text": [], "answer_start": []}, None, *[None] * 2],
}
GOLDEN = "c1cd2e447fca62a911ca5c5f66e6d8cf"


def of(**changed: Any) -> str:
    return content_hash(Table.from_dict(COLUMNS | changed))


def test_chunks_and_choices_change_nothing() -> None:
    whole = Table.from_dict(COLUMNS)
    pieces = datasets.concatenate_datasets([whole.select([0]), whole.select([1, 2]), whole.select([3, 4])])
    chosen = Table.from_dict({name: values[::-1] for name, values in COLUMNS.items()}).select([4, 3, 2, 1, 0])
    wide = whole.cast_column("text", datasets.Value("large_string"))
    assert pieces.data.column("text").num_chunks == 3
    assert {content_hash(table) for table in (pieces, chosen, wide, whole.with_format("numpy"))} == {of()}


def test_what_lies_under_a_null_changes_nothing() -> None:
    """A table may keep a value under what it says is missing."""
    import pyarrow as pa

    text = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\3\0\0\0\6\0\0\0"), pa.py_buffer(b"onetwo"))
    masked = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\1"), *text.buffers()[1:]])
    assert masked.to_pylist() == ["one", None]
    assert content_hash(Table(pa.table({"text": masked}))) == content_hash(Table.from_dict({"text": ["one", None]}))


@pytest.mark.parametrize(
    "changed",
    [
        {"text": ["one", "", "drei über", None, "fivE"]},
        {"text": ["on", "e", "drei über", None, "five"]},  # the same letters between other bounds
        {"text": ["one", None, "drei über", None, "five"]},  # nothing is not the empty text
        {"text": ["", "one", "drei über", None, "five"]},
        {"label": [0, 1, 0, 1, 0]},
        {"label": [0, 1, None, 0, 1]},
        {"label": [0.0, 1.0, None, 1.0, 0.0]},
        {"label": ["0", "1", None, "1", "0"]},
        {"answers": [{"text": ["ab"], "answer_start": [1]}, *COLUMNS["answers"][1:]]},
        {"answers": [{"text": ["a"], "answer_start": [1]}, {"text": ["b"], "answer_start": [2]}, *[None] * 3]},
        {"answers": [{"text": ["a", "b"], "answer_start": [2, 1]}, *COLUMNS["answers"][1:]]},
        {"other": [1, 2, 3, 4, 5]},
    ],
)
def test_any_change_is_another_content(changed: dict[str, list[Any]]) -> None:
    assert of(**changed) != of()


def test_names_of_columns_and_the_number_of_rows_count() -> None:
    assert content_hash(Table.from_dict({"a": [1]})) != content_hash(Table.from_dict({"b": [1]}))
    rows = [content_hash(Table.from_dict({"a": [1] * size})) for size in (1, 2, 3)]
    assert len(set(rows)) == 3


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_every_row_counts_whatever_is_in_memory_at_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "BATCH_ROWS", rows)
    changed = [of(text=[*COLUMNS["text"][:at], "x", *COLUMNS["text"][at + 1 :]]) for at in range(5)]
    assert len({of(), *changed}) == 6


def test_the_format_of_the_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('text,label\n"a\nb",x\nc,y\n')
    (tmp_path / "rows.jsonl").write_text('{"text": "a\\nb", "label": "x"}\n{"text": "c", "label": "y"}\n')
    hashes = {content_hash(read_files([tmp_path / name], "auto", "line")) for name in ("rows.csv", "rows.jsonl")}
    assert len(hashes) == 1


def test_the_hash_is_the_one_that_old_runs_had() -> None:
    """A golden value: by it a run's data are compared with those of a run of long ago."""
    assert of() == GOLDEN
