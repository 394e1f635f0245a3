"""The presets that write: each runs on the embedded model as it is, and shows what it wrote before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llama_experiments.command_line.config_files import CONF
from tests.runs.made import run_command

FEW = ["dataset.train_examples=48", "dataset.validation_examples=12", "training.epochs=2", "training.warmup_ratio=0"]
METRICS = {"perplexity", "bits_per_byte"}
ANSWERS = {"exact_match", "f1"}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("preset", ["stories", "dialogue", "creative_writing", "qa_generative"])
def test_a_preset_runs_and_shows_what_it_wrote(preset: str, tmp_path: Path) -> None:
    status, said, warned = run_command(
        tmp_path, f"experiment={preset}", *FEW, "training.save_model=none", "hydra.run.dir=run"
    )
    assert (status, warned) == (0, "")
    epochs, written = lines(tmp_path / "run" / "epochs.jsonl"), lines(tmp_path / "run" / "samples.jsonl")
    assert epochs[2]["train_loss"] < epochs[1]["train_loss"]
    assert set(epochs[2]["metrics"]) == (METRICS | ANSWERS if preset == "qa_generative" else METRICS)
    prompts = [[record["prompt"] for record in written if record["epoch"] == epoch] for epoch in (0, 1, 2)]
    assert prompts[0] == prompts[1] == prompts[2]
    assert len(prompts[0]) == 3
    assert said.count("«") >= 9
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert report.count("- epoch 0: ") == report.count("- epoch 2: ") == 3


def test_written_answers_are_kept_with_the_predictions(tmp_path: Path) -> None:
    status, _, warned = run_command(
        tmp_path, "experiment=qa_generative", *FEW, "task.generated_examples=5", "hydra.run.dir=run"
    )
    assert (status, warned) == (0, "")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    answered = [answer for answer in table["prediction"] if answer is not None]
    assert (len(answered), len(table["prediction"])) == (5, 12)
    kept = min(lines(tmp_path / "run" / "epochs.jsonl")[1:], key=lambda record: record["eval_loss"])
    scores = [score for score in table["f1"] if score is not None]
    assert kept["metrics"]["f1"] == pytest.approx(sum(scores) / 5)
    assert all(table["references"])


@pytest.mark.parametrize("preset", ["stories", "dialogue", "creative_writing", "qa_generative"])
def test_a_presets_header_says_the_command_and_what_to_expect(preset: str) -> None:
    header = (CONF / "experiment" / f"{preset}.yaml").read_text(encoding="utf-8").split("defaults:")[0]
    assert f"python -m llama_experiments experiment={preset}" in header
    assert "evaluation loss" in header
    assert "minutes" in header
