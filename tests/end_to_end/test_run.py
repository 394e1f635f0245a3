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
        "hygiene.json",
        "run.json",
        "state.json",
        ".lock",
        ".tracker.lock",
        "tracker.json",
        "lengths.png",
        "movement.json",
        "result.json",
        "report.md",
    }
    epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in epochs] == [0, 1]
    assert epochs[0]["train_loss"] is None


def test_a_saved_config_gives_the_same_run_again(command: Command, local_run: list[str], tmp_path: Path) -> None:
    assert command(*local_run, "seed=3", "hydra.run.dir=outputs/first").returncode == 0
    done = command("--config-path", "outputs/first/.hydra", "hydra.run.dir=outputs/again")
    assert done.returncode == 0, done.stderr
    for name in ("epochs.jsonl", "steps.jsonl"):
        first, again = (tmp_path / "outputs" / run / name for run in ("first", "again"))
        assert untimed(first) == untimed(again)
    weights = "model/model.safetensors"
    first, again = (tmp_path / "outputs" / run / weights for run in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()


def untimed(journal: Path) -> list[dict[str, object]]:
    """The records without what a clock gave them."""
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in ("time", "seconds")} for record in records]
