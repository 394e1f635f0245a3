"""Whole commands: what a run prints and leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Command


def test_a_run_leaves_everything(command: Command, local_run: list[str], tmp_path: Path) -> None:
    done = command(*local_run, "hydra.run.dir=outputs/run")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "run"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        ".hydra",
        "epochs.jsonl",
        "steps.jsonl",
        "environment.json",
        "predictions.parquet",
        "model",
        "curves.png",
        "confusion.png",
        "report.md",
    }
    epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in epochs] == [0, 1]
    assert epochs[0]["train_loss"] is None
