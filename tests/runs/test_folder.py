"""A run's folder: the names in it are an interface, and it belongs to one run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from llama_experiments.errors import UserError
from llama_experiments.runs.folder import RunFolder
from tests.runs.conftest import Finished


def test_the_names(finished: Finished) -> None:
    folder = finished.folder
    assert folder.name == "run"
    named = {
        ".hydra": folder.hydra,
        "run.json": folder.run,
        "epochs.jsonl": folder.epochs,
        "steps.jsonl": folder.steps,
        "environment.json": folder.environment,
        "predictions.parquet": folder.predictions,
        "model": folder.model,
        "curves.png": folder.curves,
        "confusion.png": folder.confusion,
        "hygiene.json": folder.hygiene,
        "lengths.png": folder.lengths,
        "movement.json": folder.movement,
        "result.json": folder.result,
        "report.md": folder.report,
    }
    there = {path.name: path for path in folder.path.iterdir()}
    for name in ("state.json", ".lock", "tracker.json", ".tracker.lock"):
        assert there.pop(name)
    assert there == named


def test_a_folder_is_made_and_taken_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    folder.claim()
    assert folder.epochs.read_text() == ""
    with pytest.raises(UserError, match=r"belongs to another run already; .* hydra\.run\.dir="):
        folder.claim()


def test_of_runs_that_start_together_one_gets_the_folder(tmp_path: Path) -> None:
    start, outcomes = threading.Barrier(8), []

    def claim() -> None:
        start.wait()
        try:
            RunFolder(tmp_path / "run").claim()
            outcomes.append("mine")
        except UserError:
            outcomes.append("taken")

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["mine"] + ["taken"] * 7


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"output_dir: .*file/run cannot be written to"):
        RunFolder(tmp_path / "file" / "run").claim()
