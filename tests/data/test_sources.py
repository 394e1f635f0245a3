"""Which files and names a data set's settings mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.data.sources import HubDataset, LocalFiles
from llama_experiments.errors import SettingError, UserError


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
