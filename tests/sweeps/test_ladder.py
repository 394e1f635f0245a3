"""The ladder: what is told of its rungs, and the preset on a tiny model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.result import Result
from llama_experiments.sweeps.base import Job
from llama_experiments.sweeps.ladder import Ladder, climb, ladder_table
from tests.conftest import Command

RESULT = Result(
    task="sequence classification",
    technique="full",
    epoch=2,
    eval_loss=0.5,
    item="example",
    items=200,
    metrics={"accuracy": 0.5},
    metric="accuracy",
    higher_is_better=True,
    learning_rate=1e-3,
    parameters=1_000,
    trainable_parameters=100,
    peak_memory_growth=3 * 2**20,
    seconds=2.0,
    tuning_seconds=1.0,
    tokens_per_second=1234.0,
)


def job(folder: Path, technique: str, right: np.ndarray, **changes: Any) -> Job:
    """A job whose evaluation rows are right or wrong as told."""
    run = RunFolder(folder / technique)
    run.path.mkdir(parents=True)
    table = {"row": np.arange(len(right)) + 1, "metric_sum": right.astype(float), "metric_count": np.ones(len(right))}
    pq.write_table(pa.table(table), run.predictions)
    result = dataclasses.replace(RESULT, technique=technique, **changes)
    return Job(run, {}, {"technique": technique}, result)


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    random = np.random.default_rng(0)
    good = random.random(200) < 0.9
    nearly = good.copy()
    nearly[:2] = ~nearly[:2]
    return [
        job(tmp_path, "baseline", random.random(200) < 0.5, trainable_parameters=0, learning_rate=None),
        job(tmp_path, "prompt", random.random(200) < 0.6, item="token", items=900, peak_memory_growth=None),
        job(tmp_path, "freeze", nearly),
        job(tmp_path, "full", good),
    ]


def test_the_best_and_what_cannot_be_told_from_it(jobs: list[Job]) -> None:
    rungs = climb(jobs)
    best = [rung.name for rung in rungs if rung.behind is None]
    assert best in (["full"], ["freeze"])
    assert [rung.as_good for rung in rungs] == [False, False, True, True]
    for rung, one in zip(rungs, jobs, strict=True):
        table = pq.read_table(one.folder.predictions).to_pydict()
        assert rung.metric.value == pytest.approx(np.mean(table["metric_sum"]))
        assert rung.metric.low < rung.metric.value < rung.metric.high


def test_the_lowest_is_the_best_of_losses(tmp_path: Path) -> None:
    losses = np.linspace(0.5, 1.5, 50)
    loss = {"metric": "loss", "higher_is_better": False}
    rungs = climb([job(tmp_path, "a", losses, **loss), job(tmp_path, "b", losses / 2, **loss)])
    assert [rung.behind is None for rung in rungs] == [False, True]
    assert rungs[0].behind is not None
    assert rungs[0].behind.low > 0


def test_the_table_sets_no_loss_beside_others_that_score_something_else(jobs: list[Job]) -> None:
    table = ladder_table(climb(jobs))
    assert "| loss (200 examples) |" in table[0]
    assert "| 0.5000 | 0 (0.0%) | -- | 3 MiB | 2.0 (+ 1.0) | 1,234 |" in table[2]
    assert "(0.5000 over 900 tokens)" in table[3]
    assert "| -- | 2.0 (+ 1.0)" in table[3]
    assert "100 (10.0%) | 0.001 |" in table[5]


def test_what_is_written(jobs: list[Job], tmp_path: Path) -> None:
    told = "\n".join(Ladder().report(tmp_path, jobs, ["4-technique=lora"]))
    assert "Not distinguishable from it at 95%" in told
    assert "baseline" not in told.split("Not distinguishable")[1]
    assert "|" not in told  # a table for a terminal
    written = (tmp_path / "ladder.md").read_text()
    assert "did not end well: 4-technique=lora" in written
    assert "A loss in brackets" in written
    assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_of_two_kinds_have_a_table_each(jobs: list[Job], tmp_path: Path) -> None:
    other = job(tmp_path / "other", "unigram", np.ones(200), metric="loss", higher_is_better=False)
    Ladder().report(tmp_path, [*jobs, other], [])
    assert {path.name for path in tmp_path.glob("*.png")} == {"ladder_accuracy.png", "ladder_loss.png"}


def test_the_preset(command: Command, local_run: list[str], tmp_path: Path) -> None:
    """One command: jobs side by side, each at the rate it chose, a table; a job of it can be replayed alone."""
    done = command("experiment=ladder", *local_run, "technique=baseline,freeze,full", "tuning.multipliers=[1,3]")
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("outputs/*/*-ladder-sentiment/ladder.md")
    rows = [
        line for line in written.read_text().splitlines() if line.startswith(("| baseline", "| freeze", "| full"))
    ]
    assert [row.split(" | ")[0] for row in rows] == ["| baseline", "| freeze", "| full"]
    assert f"everything is in  outputs/{written.parent.relative_to(tmp_path / 'outputs')}" in done.stdout
    (full,) = written.parent.glob("2-*")
    result = json.loads((full / "result.json").read_text())
    tried = {attempt["learning_rate"] for attempt in json.loads((full / "tuning.json").read_text())}
    assert result["learning_rate"] in tried == {1e-3, 3e-3}
    again = command("--config-path", str(full / ".hydra"), "hydra.run.dir=again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "predictions.parquet").read_bytes() == (full / "predictions.parquet").read_bytes()
