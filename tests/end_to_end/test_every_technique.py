"""Every technique on every task, on the embedded model and data: what moves, and that it learns, for three seeds."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Training rows and epochs: as few as show that something is learned.
SIZES = {"sentiment": (2000, 2), "question_answering": (300, 1), "text_generation": (400, 2)}
SEEDS = (0, 1, 2)
LEARNED = 0.95  # the evaluation loss by epoch 0's
TASKS = pytest.mark.parametrize("task", ["sentiment", "question_answering", "text_generation"])
HEADS = ["score.*", "qa_outputs.*", "lm_head.*"]
LAST_TWO = ["*.layers.[23].*", "model.norm.*", "transformer.norm.*", "score.*", "qa_outputs.*"]
# What may move, by its names' patterns, and learning rates that suit it: on texts LoRA's is higher.
TRAINED: dict[str, tuple[list[str], float, float]] = {
    "full": (["*"], 1e-3, 1e-3),
    "freeze": (HEADS, 1e-2, 1e-2),
    "freeze_last": (LAST_TWO, 1e-3, 1e-3),
    "learning_rate": (["*"], 1e-3, 1e-3),
    "lora": (["*.lora_?.default.weight", "*.modules_to_save.*"], 3e-3, 1e-2),
}


def few(task: str) -> list[str]:
    rows, epochs = SIZES[task]
    return [f"dataset.train_examples={rows}", f"training.epochs={epochs}"]


def outcome(folder: Path) -> tuple[list[float], dict[str, dict[str, Any]], dict[str, Any]]:
    """The evaluation losses by epoch, every tensor's movement, the result."""
    epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    movement = json.loads((folder / "movement.json").read_text())
    return [epoch["eval_loss"] for epoch in epochs], movement, json.loads((folder / "result.json").read_text())


@TASKS
@pytest.mark.parametrize("technique", TRAINED)
def test_it_moves_what_it_says_and_learns(technique: str, task: str, run: Callable[..., int], tmp_path: Path) -> None:
    may_move, *rates = TRAINED[technique]
    rate = rates[task == "text_generation"]
    for seed in SEEDS:
        folder = tmp_path / f"run{seed}"
        settings = [*few(task), f"training.learning_rate={rate}", f"seed={seed}", "training.save_model=none"]
        assert run(f"task={task}", f"technique={technique}", *settings, f"hydra.run.dir={folder}") == 0
        losses, movement, result = outcome(folder)
        moved = {name for name, tensor in movement.items() if tensor["moved"]}
        assert moved == {name for name in movement if any(fnmatch.fnmatchcase(name, one) for one in may_move)}
        assert moved
        assert len(losses) == 1 + SIZES[task][1]
        assert min(losses[1:]) <= LEARNED * losses[0], f"seed {seed}"
        trained = sum(tensor["parameters"] for tensor in movement.values() if tensor["moved"])
        assert result["trainable_parameters"] == trained


@TASKS
@pytest.mark.parametrize("technique", ["prompt", "few_shot"])
def test_asked_it_moves_nothing_and_beats_a_guess(
    technique: str, task: str, run: Callable[..., int], tmp_path: Path
) -> None:
    shots = ["technique.shots=1"] if technique == "few_shot" and task != "sentiment" else []
    losses: dict[str, float] = {}
    for choice, settings in (("baseline", []), (technique, shots)):
        folder = tmp_path / choice
        assert run(f"task={task}", f"technique={choice}", *few(task), *settings, f"hydra.run.dir={folder}") == 0
        (losses[choice],), movement, result = outcome(folder)
        assert not any(tensor["moved"] for tensor in movement.values())
        assert result["trainable_parameters"] == 0
        if task == "sentiment":
            assert (result["metrics"]["accuracy"] > 0.6) == (choice != "baseline")
    if (technique, task) != ("few_shot", "sentiment"):  # its probabilities are worse than its choices
        assert losses[technique] < losses["baseline"]
