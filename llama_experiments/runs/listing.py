"""The runs in a folder, from their small files alone: a thousand are listed in a second."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from llama_experiments.errors import UserError
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.state import Word, read_state

STATES: tuple[str, ...] = get_args(Word)
DEEPEST = 4  # folders below: date, sweep, job


@dataclasses.dataclass(frozen=True)
class Listed:
    """A run in a line."""

    folder: Path
    task: str
    technique: str
    state: str
    loss: float | None  # of the kept epoch; None where there is none, or it is no number
    started: int  # milliseconds since 1970


def list_runs(folder: Path) -> list[Listed]:
    """The newest first; what is no run is passed over."""
    return sorted((_read(path) for path in _folders(folder, DEEPEST)), key=lambda run: run.started, reverse=True)


def _folders(folder: Path, deep: int) -> Iterator[Path]:
    """Those with a journal. A run's own folders are not looked into."""
    with os.scandir(folder) as entries:
        inside = list(entries)
    if any(entry.name == "epochs.jsonl" for entry in inside):
        yield folder
        return
    for entry in inside:
        if deep and entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "mlflow-", "cache")):
            yield from _folders(Path(entry.path), deep - 1)


def _read(folder: Path) -> Listed:
    run = RunFolder(folder)
    tags = _json(run.run).get("tags")
    tags = tags if isinstance(tags, dict) else {}
    result = _json(run.result)
    try:
        state = read_state(folder)
    except UserError:  # damaged: one run keeps no other from being listed
        state = None
    started = state.started if state else int(run.epochs.stat().st_mtime * 1000)
    word = state.state if state else "finished" if result else "killed"
    task, technique = tags.get("task") or result.get("task"), tags.get("technique") or result.get("technique")
    loss = result.get("eval_loss")
    return Listed(folder, _plain(task), _plain(technique), word, loss if isinstance(loss, float) else None, started)


def _plain(told: Any) -> str:
    """A word for the terminal, which follows what is not printable."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(told or "--"))


def _json(file: Path) -> dict[str, Any]:
    """A file of a run that may be of an earlier version, or damaged: then the line says less."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def table(runs: Sequence[Listed]) -> list[str]:
    """Lines for the terminal."""
    now = time.time() * 1000
    rows = [("run", "task", "technique", "state", "loss", "age")]
    for run in runs:
        loss = "--" if run.loss is None else f"{run.loss:.4f}"
        rows.append((show(run.folder), run.task, run.technique, run.state, loss, _age((now - run.started) / 1000)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
