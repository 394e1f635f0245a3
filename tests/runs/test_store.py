"""A new store is a copy of an empty one, and of nothing else."""

import sqlite3
from pathlib import Path

import pytest

from llama_experiments.runs import store
from llama_experiments.runs.tracker import connect, prepare_environment


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_environment()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _run(file: Path) -> str:
    client = connect(f"sqlite:///{file}")
    experiment = client.create_experiment("mine")
    return str(client.create_run(experiment).info.run_id)


def test_made_once_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    migrate = store._migrate
    monkeypatch.setattr(store, "_migrate", lambda file: (made.append(file), migrate(file)))
    first, second = tmp_path / "a" / "mlflow.db", tmp_path / "b" / "mlflow.db"
    run = _run(first)
    assert store.template().exists()
    assert [found.name for found in connect(f"sqlite:///{second}").search_experiments()] == ["Default"]
    assert _run(second) != run
    assert len(made) == 1
    assert [file.name for file in (tmp_path / "b").iterdir() if not file.name.endswith(".lock")] == ["mlflow.db"]


def test_a_broken_or_used_template_is_made_anew(tmp_path: Path) -> None:
    store.template().parent.mkdir(parents=True)
    store.template().write_bytes(b"SQLite format 3\0 and no more")
    _run(tmp_path / "a.db")
    with sqlite3.connect(store.template()) as kept:
        assert kept.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    store.template().write_bytes((tmp_path / "a.db").read_bytes())  # with a run in it
    client = connect(f"sqlite:///{tmp_path / 'b.db'}")
    assert [found.name for found in client.search_experiments()] == ["Default"]


def test_without_a_cache_folder_there_is_a_store_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    _run(tmp_path / "a.db")
    assert not store.template().exists()


def test_default_lies_where_the_store_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        client = connect(f"sqlite:///{tmp_path / name / 'mlflow.db'}")
        assert client.get_experiment("0").artifact_location == str(tmp_path / name / "mlruns" / "0")
