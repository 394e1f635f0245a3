"""A sweep's jobs are named by what is swept, in one folder each."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.command_line.overrides import LONGEST_NAME, NAMED_BY, file_name, named_by_what_is_swept, parse
from tests.conftest import Command


def test_what_all_jobs_share_names_none() -> None:
    given = ["seed=1,2", "model=local", "+model.checkpoint=a b", "training.epochs=range(1,3)", "technique=full"]
    assert named_by_what_is_swept(parse(given)) == [f"{NAMED_BY}=['model','model.checkpoint','technique']"]
    assert named_by_what_is_swept(parse(["seed=1,2", f"{NAMED_BY}=[seed]"])) == []


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("training.learning_rate=1e-3", "training.learning_rate=1e-3"),
        ("seed=1,technique=full", "seed=1,technique=full"),
        ("++dataset.train=/data/a b.csv,+x=é", "dataset.train=_data_a_b.csv,x=é"),
        ("a=[1,2],b='../../x'", "a=_1,2_,b=_.._.._x_"),
        ("a=1e+3", "a=1e+3"),
        ("x" * 300, "x" * LONGEST_NAME),
    ],
)
def test_a_name_of_one_folder(overrides: str, name: str) -> None:
    assert file_name(overrides) == name


def test_the_folders_of_a_sweep(command: Command, local_run: list[str], tmp_path: Path) -> None:
    """Over files, whose paths are no names of folders."""
    train = next(argument for argument in local_run if argument.startswith("dataset.train="))
    other = tmp_path / "other.csv"
    other.write_bytes((tmp_path / "train.csv").read_bytes())
    rest = [argument for argument in local_run if argument != train]
    sweep = ["-m", f"{train},{other}", "hydra.sweep.dir=sweep", "training.save_model=none"]
    done = command(*rest, *sweep)
    assert done.returncode == 0, done.stderr
    runs = {path.parent.relative_to(tmp_path / "sweep") for path in (tmp_path / "sweep").rglob("epochs.jsonl")}
    assert runs == {
        Path(f"{number}-{file_name(f'dataset.train={file}')}")
        for number, file in enumerate((tmp_path / "train.csv", other))
    }
