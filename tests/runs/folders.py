"""Run folders made up: a journal and what describes the run, for whoever mirrors them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_experiments.runs.folder import RunFolder

DATA = {"train": {"source": "train.csv", "files": ["/data/train.csv"], "rows": 4, "hash": "0" * 32}}


def step_record(number: int, **others: Any) -> dict[str, Any]:
    """A step of epoch 1 as the journal has it."""
    values = {"step": number, "epoch": 1, "loss_sum": 4.0, "count": 8, "learning_rate": 1e-3, "gradient_norm": 2.5}
    return values | {"tokens": 100, "seconds": 0.5, "time": 1_700_000_000_000 + number} | others


def epoch_record(
    epoch: int, train: Any, evaluation: Any, metrics: dict[str, Any] | None = None, **others: Any
) -> dict[str, Any]:
    """An epoch as the journal has it."""
    values = {"epoch": epoch, "train_loss": train, "eval_loss": evaluation, "metrics": metrics or {}}
    return values | {"seconds": 1.5, "time": 1_700_000_000_000 + epoch} | others


def append(file: Path, records: Sequence[dict[str, Any]]) -> None:
    """Lines of a journal."""
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record) + "\n" for record in records)


def made_folder(
    path: Path,
    epochs: Sequence[dict[str, Any]] = (),
    steps: Sequence[dict[str, Any]] = (),
    parameters: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    state: str | None = None,
) -> RunFolder:
    """A run's folder with these records; without a state it is one that goes on."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    append(folder.epochs, epochs)
    append(folder.steps, steps)
    told = {"tags": tags or {}, "facts": {"task": "made up"}, "parameters": parameters or {"seed": 0}}
    folder.run.write_text(json.dumps(told))
    folder.environment.write_text(json.dumps({"data": DATA}))
    if state is not None:
        text = {"state": state, "reason": "", "seconds": 2.5, "started": 1_700_000_000_000}
        (path / "state.json").write_text(json.dumps(text))
    return folder
