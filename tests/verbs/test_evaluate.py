"""`evaluate`: the run's rows again, or others, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import sentences, write_table

Run = Callable[..., int]
Said = pytest.CaptureFixture[str]


@pytest.fixture
def saved(run: Run, local_run: list[str], tmp_path: Path) -> Path:
    """A run of the tiny model, with a test part."""
    test = write_table(tmp_path / "test.csv", [*sentences(10, start=200)])
    assert run(*local_run, f"dataset.test={test}", "hydra.run.dir=first") == 0
    return tmp_path / "first"


def told(folder: Path, name: str) -> dict[str, object]:
    record: dict[str, object] = json.loads((folder / "evaluations" / name / "result.json").read_text())
    return record


def test_the_test_part_is_compared_with_its_own_record(run: Run, saved: Path, capsys: Said) -> None:
    assert run("evaluate", "first", "part=test") == 0
    assert "as the run recorded it after epoch 1" in capsys.readouterr().out
    assert told(saved, "test")["loss"] == json.loads((saved / "test.json").read_text())["test_loss"]


def test_other_rows_stand_beside_the_runs(run: Run, saved: Path, tmp_path: Path, capsys: Said) -> None:
    rows = [(text, {"positive": 0, "negative": 1}[label]) for text, label in sentences(8, start=300)]
    write_table(tmp_path / "other.csv", rows, header=("review", "label"))
    given = ["dataset.validation=other.csv", "dataset.columns.text=review", "dataset.labels=[positive,negative]"]
    for name in ("other.csv-validation", "other.csv-validation"):  # the same again takes its place
        assert run("evaluate", "first", *given) == 0
        said = capsys.readouterr().out
        assert "other rows than the run recorded its numbers of" in said
        record = told(saved, name)
        assert (record["rows"], record["as_recorded"]) == (8, None)
    assert run("evaluate", "first", "dataset=local_sentiment", *given, "name=named") == 0
    # Their integers count by their own names of the classes, in another order than the model's.
    words = [(text, label) for text, label in sentences(8, start=300)]
    write_table(tmp_path / "words.csv", words)
    assert run("evaluate", "first", "dataset.validation=words.csv") == 0
    assert told(saved, "words.csv-validation")["loss"] == record["loss"] == told(saved, "named")["loss"]
    assert sorted(path.name for path in (saved / "evaluations").iterdir()) == [
        "named",
        "other.csv-validation",
        "words.csv-validation",
    ]


def test_rows_that_changed_are_not_called_the_runs(run: Run, saved: Path, tmp_path: Path, capsys: Said) -> None:
    file = tmp_path / "validation.csv"
    file.write_text(file.read_text().replace("kettle", "pot"))
    assert run("evaluate", "first") == 0
    assert "other rows than the run recorded" in capsys.readouterr().out


def test_a_job_of_a_sweep_and_a_moved_folder(run: Run, saved: Path, tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "sweep").mkdir()
    saved.rename(tmp_path / "sweep" / "0-task=sentiment,seed=1")
    assert run("evaluate", "sweep/0-task=sentiment,seed=1") == 0
    assert "to the last bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "evaluate takes one run"),
        (["first", "second"], "evaluate takes one run"),
        (["nowhere"], "there is no run nowhere"),
        (["first", "part=dev"], "there is no part 'dev'"),
        (["first", "dataset.validation=gone.csv"], "no file gone.csv"),
        (["first", "dataset=nothing"], "there is no dataset 'nothing'"),
        (["first", "dataset.labels=[good,bad]"], "the class 'good' is none of the model's, negative, positive"),
        (["first", "dataset.columns.txt=x"], "did you mean 'text'?"),
        (["first", "training.epochs=2"], "training.epochs: evaluate has no such setting"),
        (["first", "technique=lora"], "technique: evaluate has no such setting"),
        (["first", "task=chat"], "task: the run's task stays what it is"),
        (["first", "task.max_lenght=9"], "did you mean 'max_length'?"),
        (["first", "name=../elsewhere"], "name: must be the name of a folder"),
    ],
)
def test_what_is_refused(words: list[str], sentence: str, run: Run, saved: Path, capsys: Said) -> None:
    assert run("evaluate", *words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not (saved / "evaluations").exists()


def test_a_config_that_could_do_harm(run: Run, saved: Path, capsys: Said) -> None:
    config = saved / ".hydra" / "config.yaml"
    config.write_text(config.read_text() + "\nhydra: {callbacks: {x: {_target_: os.system}}}\n")
    for verb in (["evaluate", "first"], ["predict", "first", "--input", "validation.csv"]):
        assert run(*verb) == 2
        assert "has a 'hydra' node" in capsys.readouterr().err


def test_a_run_of_a_newer_version(run: Run, saved: Path, capsys: Said) -> None:
    environment = json.loads((saved / "environment.json").read_text())
    environment["versions"]["llama-experiments"] = "999.0"
    (saved / "environment.json").write_text(json.dumps(environment))
    assert run("evaluate", "first") == 2
    assert "install 999.0" in capsys.readouterr().err
