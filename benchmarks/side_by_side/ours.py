"""Our side: the entrypoint's command line for a case, and what the run left in its journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from side_by_side.cases import RATES, USUAL_RATE, Case, Work
from side_by_side.measure import Span


def arguments(case: Case, work: Work, folder: Path, further: list[str]) -> list[str]:
    """What follows `python -m llama_experiments`."""
    given = [
        f"task={work.task}",
        "model=local",
        f"model.checkpoint={work.model}",
        f"dataset=local_{work.task}",
        f"dataset.train={work.train}",
        f"dataset.validation={work.validation}",
        f"technique={work.technique}",
        f"task.max_length={work.max_length}",
        f"training.learning_rate={work.learning_rate:g}",
        f"training.batch_size={work.batch_size}",
        f"training.weight_decay={work.weight_decay:g}",
        "training.evaluate_first=false",  # nobody else does
        f"output_dir={folder / 'outputs'}",
        f"seed={work.seed}",
    ]
    if work.task == "sentiment":
        given += ["dataset.labels=[negative,positive]"]
    if work.task == "text_generation":
        given += ["task.sample_tokens=0"]  # nobody else writes samples
    if work.technique == "freeze":
        given += [f"technique.trainable_layers={work.layers}"]
    if work.technique == "few_shot":
        given += ["technique.shots=4"]
    else:
        given += [f"training.epochs={work.epochs}"]
    if case.runs > 1:
        given = [one for one in given if not one.startswith("training.learning_rate")]
        given += [f"training.learning_rate={','.join(f'{rate:g}' for rate in RATES)}"]
        return ["-m", *given, f"hydra.sweep.dir={folder / 'run'}", *further]
    return [*given, f"hydra.run.dir={folder / 'run'}", *further]


def read_run(case: Case, folder: Path) -> dict[str, Any]:
    """Spans of training and evaluation, losses of the last epoch, tokens of an epoch; of a sweep one job's losses."""
    files = sorted((folder / "run").glob("*/epochs.jsonl" if case.runs > 1 else "epochs.jsonl"))
    journals = [[json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files]
    spans: list[Span] = [
        (epoch["time"] / 1000 - epoch["seconds"], epoch["time"] / 1000, 1) for epochs in journals for epoch in epochs
    ]
    last = journals[USUAL_RATE if case.runs > 1 else 0][-1]
    return {
        "spans": spans,
        "train_loss": last["train_loss"],
        "eval_loss": last["eval_loss"],
        "tokens": last["tokens"],
    }
