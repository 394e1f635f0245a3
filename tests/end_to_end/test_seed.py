"""The chapter's runs: true to its settings, and each of them run on the embedded stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from llama_experiments.cli import main
from llama_experiments.command_line.composition import compose_command
from llama_experiments.command_line.config_files import CONF
from llama_experiments.config import build
from llama_experiments.experiment import Experiment

PRESETS = sorted(file.stem for file in (CONF / "experiment" / "seed").glob("*.yaml"))
# Learning rate and the losses that the chapter prints: training, evaluation.
PRINTED = {
    "imdb": ([0.1345, 0.0821, 0.0468], [0.1523, 0.1042, 0.0879]),
    "yelp": ([0.2954, 0.1786, 0.1024], [0.3121, 0.2245, 0.1893]),
    "squad": ([1.8234, 1.3451, 1.0152], [1.5243, 1.2212, 1.0435]),
    "wikitext2": ([2.9854, 2.5423, 2.2356], [2.6452, 2.4321, 2.1987]),
}
RATES = {"imdb_learning_rate": 2e-5, "yelp": 2e-5, "squad": 3e-5, "wikitext2": 5e-5}


def test_there_are_six() -> None:
    assert len(PRESETS) == 6


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_true_to_the_chapter(preset: str) -> None:
    experiment = build(compose_command([f"experiment=seed/{preset}"]).tree, Experiment)
    training = experiment.training
    assert (training.epochs, training.batch_size, training.weight_decay) == (3, 8, 0.01)
    assert training.learning_rate == RATES.get(preset, 5e-5)
    assert experiment.model.hub_name == "meta-llama/Llama-2-7b-chat-hf"
    assert experiment.reference is not None
    assert experiment.reference.dataset == experiment.dataset.hub_name
    losses = (experiment.reference.train_loss, experiment.reference.eval_loss)
    assert losses == PRINTED[preset.partition("_")[0]]
    header = (CONF / "experiment" / "seed" / f"{preset}.yaml").read_text(encoding="utf-8").split("defaults:")[0]
    assert all(f"{loss:.4f}" in header for printed in losses for loss in printed)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_on_the_stand_ins(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["llama_experiments"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    GlobalHydra.instance().clear()
    few = ["dataset.train_examples=64", "dataset.validation_examples=32", "training.save_model=none"]
    assert main([f"experiment=seed/{preset}", "stand_in=embedded", *few, "hydra.run.dir=run"]) == 0
    epochs = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in epochs] == [0, 1, 2, 3]
    assert epochs[3]["train_loss"] < epochs[1]["train_loss"]
    assert "unverified" not in (tmp_path / "run" / "report.md").read_text()  # other data: nothing to compare
