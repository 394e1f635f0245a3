"""Which files and names a data set's settings mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.data.rows import load_rows
from llama_experiments.data.sources import HubDataset, LocalFiles
from llama_experiments.errors import SettingError, UserError
from llama_experiments.tasks.classification import SequenceClassification
from tests.conftest import sentences, write_table


def local(train: str | list[str]) -> LocalFiles:
    return LocalFiles(train=train, validation="validation.csv")


def test_wildcards_are_sorted_and_lists_keep_their_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "[x].csv"):
        (tmp_path / name).touch()
    assert [path.name for path in local(f"{tmp_path}/?.csv").files("train")] == ["a.csv", "b.csv"]
    assert [path.name for path in local([f"{tmp_path}/b.csv", f"{tmp_path}/a*"]).files("train")] == ["b.csv", "a.csv"]
    assert local(f"{tmp_path}/[x].csv").files("train") == [tmp_path / "[x].csv"]  # a file of that very name
    with pytest.raises(UserError, match="no file matches"):
        local(f"{tmp_path}/*.tsv").files("train")


@pytest.mark.parametrize("name", ["imdb", "stanfordnlp/imdb", "a.b/c-d_e"])
def test_names_of_the_hub(name: str) -> None:
    assert HubDataset(name=name).hub_name == name


@pytest.mark.parametrize("name", ["", "a/b/c", "https://huggingface.co/a/b", "a b"])
def test_what_is_no_name_of_the_hub(name: str) -> None:
    with pytest.raises(SettingError, match="must be a Hub name"):
        HubDataset(name=name)


@pytest.mark.parametrize("settings", [{"train_examples": 0}, {"labels": ["a"]}, {"labels": ["a", "a"]}])
def test_settings_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        HubDataset(name="a/b", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(SettingError, match="validation_share"):
        LocalFiles(train="a.csv", validation_share=share)


def test_the_parts_and_where_they_are_from(tmp_path: Path) -> None:
    given = LocalFiles(train=["a.csv", "b.csv"], validation="c.csv", test="d.csv")
    assert given.parts == ("train", "validation", "test")
    assert [given.where(part) for part in given.parts] == ["a.csv, b.csv", "c.csv", "d.csv"]
    alone = LocalFiles(train="a.csv", validation_share=0.125, subset_seed=3)
    assert alone.parts == ("train", "validation")
    assert alone.where("train") == "a.csv, all but the 12.5% held out with seed 3"
    assert alone.where("validation") == "a.csv, the 12.5% held out with seed 3"
    assert alone.files("validation") == alone.files("train") == [Path("a.csv")]
    hub = HubDataset(name="stanfordnlp/imdb", validation=None, test="test")
    assert hub.where("validation") == "stanfordnlp/imdb, split train, the 10% held out with seed 0"
    assert hub.where("test") == "stanfordnlp/imdb, split test"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (1, "0.csv"),
        (4, "0.csv, 1.csv, 2.csv, 3.csv"),
        (5, "0.csv, 1.csv, 2.csv, 2 more files"),
        (90, "0.csv, 1.csv, 2.csv, 87 more files"),
    ],
)
def test_many_files_are_told_in_short(files: int, told: str) -> None:
    assert local([f"{number}.csv" for number in range(files)]).where("train") == told


def test_only_what_is_read_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\na\n")
    here = {"train": f"{tmp_path}/a.csv"}
    assert LocalFiles(**here).problems() == []  # type: ignore[arg-type]
    told = LocalFiles(**here, test=f"{tmp_path}/b.csv").problems()  # type: ignore[arg-type]
    assert [setting for setting, _ in told] == ["test"]


def test_a_split_of_the_hub_is_read_and_held_out_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the name stands for the Hub, as `datasets` has it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "data").mkdir(parents=True)
    for split, first in (("train", 0), ("test", 100)):
        write_table(tmp_path / "owner" / "data" / f"{split}.csv", [*sentences(20, first)])
    source = HubDataset(name="owner/data", validation=None, test="test[:25%]", labels=["negative", "positive"])
    rows = load_rows(source, SequenceClassification())
    assert {part: len(found) for part, found in rows.items()} == {"train": 18, "validation": 2, "test": 5}
    assert rows["test"].table["text"][:] == [text for text, _ in sentences(5, 100)]
