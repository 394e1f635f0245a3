"""What jobs of a process share is made once for one content, and again when the content changes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_experiments.data.looked_at import look_at_rows
from llama_experiments.data.sources import LocalFiles
from llama_experiments.sharing import KEPT, files_key, forget, settings_key, shared
from llama_experiments.tasks.classification import SequenceClassification

ROWS = "text,label\nso good,pos\nso bad,neg\nvery good,pos\nvery bad,neg\n"


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    forget()
    yield
    forget()


def test_made_once_for_a_key_and_the_newest_few_are_kept() -> None:
    made: list[int] = []

    def ask(key: int) -> int:
        return shared("numbers", key, lambda: made.append(key) or key)

    assert [ask(1), ask(1), ask(2), ask(1)] == [1, 1, 2, 1]
    assert made == [1, 2]
    for key in range(10, 10 + KEPT - 1):  # 1 was asked for last, and stays
        ask(key)
    ask(1)
    ask(2)
    assert made == [1, 2, *range(10, 10 + KEPT - 1), 2]


def test_what_cannot_be_made_is_not_kept() -> None:
    def fail() -> int:
        raise ValueError("no number")

    with pytest.raises(ValueError, match="no number"):
        shared("numbers", "key", fail)
    assert shared("numbers", "key", lambda: 3) == 3


def test_a_file_changed_behind_its_times_is_another(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    before, times = files_key([file]), file.stat()
    assert files_key([file]) == before
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert files_key([file]) != before


def test_a_folder_is_all_that_it_holds(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    before = files_key([tmp_path])
    (tmp_path / "in" / "new").write_text("")
    assert files_key([tmp_path]) != before
    assert files_key([tmp_path / "nothing"]) == ((str(tmp_path / "nothing"),),)


def test_settings_tell_components_apart() -> None:
    one, other = (SequenceClassification(max_length=length) for length in (8, 9))
    assert settings_key(one) == settings_key(SequenceClassification(max_length=8)) != settings_key(other)


def test_rows_are_read_once_and_again_when_their_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    dataset, task = LocalFiles(train=str(file), validation=str(file)), SequenceClassification()
    first, again = look_at_rows(task, dataset), look_at_rows(task, dataset)
    assert first[1]["train"] is again[1]["train"]
    assert first[0].labels == ["neg", "pos"]
    file.write_text(ROWS.replace("very bad", "dreadful"))
    changed = look_at_rows(task, dataset)
    assert changed[1]["train"].table["text"][3] == "dreadful"
    assert first[1]["train"].table["text"][3] == "very bad"


def test_a_job_cannot_change_what_the_next_is_given(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    dataset, task = LocalFiles(train=str(file), validation=str(file)), SequenceClassification()
    _, rows, hygiene = look_at_rows(task, dataset)
    del rows["train"]
    hygiene.parts["train"].source = "another"
    hygiene.parts.pop("validation")
    _, rows, hygiene = look_at_rows(task, dataset)
    assert list(rows) == list(hygiene.parts) == ["train", "validation"]
    assert hygiene.parts["train"].source == "rows.csv"
