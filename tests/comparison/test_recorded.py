"""A comparison in MLflow: where a person finds it, and that the same one is there once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from llama_experiments.comparison.recorded import record_comparison
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.saved import SavedRun
from llama_experiments.runs.sync import sync_run
from llama_experiments.runs.tracker import Tracker, connect
from tests.runs.folders import epoch_record, made_folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two stores."""
    folder = tmp_path_factory.mktemp("stores")
    for name in ("one", "other"):
        connect(f"sqlite:///{folder / name}.db")
    return folder


def two_runs(folder: Path, stores: Path, others: str = "one", parent: str | None = None) -> list[RunFolder]:
    runs = []
    for number, store in enumerate(("one", others)):
        tags = {"mlflow.parentRunId": parent} if parent else {}
        run = made_folder(folder / f"run{number}", [epoch_record(0, None, 0.5)], tags=tags, state="finished")
        sync_run(SavedRun(run), Tracker(uri=f"sqlite:///{stores / store}.db"))
        runs.append(run)
    return runs


def test_a_comparison_is_a_run_of_its_own_and_the_same_one_is_there_once(stores: Path, tmp_path: Path) -> None:
    runs = two_runs(tmp_path, stores)
    client = MlflowClient(tracking_uri=f"sqlite:///{stores}/one.db")
    report = tmp_path / "compare.md"
    for text in ("first", "second"):
        report.write_text(text)
        said = record_comparison(runs if text == "first" else runs[::-1], text, [report])
        assert said.startswith("in MLflow they are artifacts of comparison of 2 runs")
    (kept,) = client.search_runs(["1"], "tags.kind = 'comparison'")
    assert (kept.data.tags["mlflow.note.content"], kept.info.status) == ("second", "FINISHED")
    ids = {json.loads((run.path / "tracker.json").read_text())["run_id"] for run in runs}
    assert set(kept.data.tags["compared_runs"].split()) == ids
    assert [file.path for file in client.list_artifacts(kept.info.run_id, "compare")] == ["compare/compare.md"]


def test_a_sweeps_comparison_is_with_the_sweep(stores: Path, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{stores}/one.db")
    found = client.get_experiment_by_name("llama_experiments")
    key = found.experiment_id if found else client.create_experiment("llama_experiments", f"file://{stores}/kept")
    parent = client.create_run(key, run_name="my sweep").info.run_id
    report = tmp_path / "compare.md"
    report.write_text("told")
    said = record_comparison(two_runs(tmp_path, stores, parent=parent), "told", [report])
    assert said == "in MLflow they are artifacts of the sweep my sweep"
    assert [file.path for file in client.list_artifacts(parent, "compare")] == ["compare/compare.md"]


def test_runs_of_several_stores_are_left_alone(stores: Path, tmp_path: Path) -> None:
    assert record_comparison(two_runs(tmp_path, stores, others="other"), "told", []) == ""
    unmirrored = made_folder(tmp_path / "unmirrored", [epoch_record(0, None, 0.5)])
    assert record_comparison([unmirrored], "told", []) == ""
