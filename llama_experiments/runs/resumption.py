"""A run that goes on: that it is still the same run, and a note of when and where it was resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from typing import Any

from llama_experiments.errors import UserError
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.reproduction import Cause, causes_between
from llama_experiments.training.checkpoint import Place


def check_unchanged(folder: RunFolder, environment: dict[str, Any]) -> None:
    """Compare data and starting weights with those the run began with.

    Raises:
        UserError: they are others, so that it would be another run.
    """
    for cause in _changes(folder, environment):
        if cause.what.endswith(" data") or cause.what == "starting weights":
            raise UserError(
                f"{show(folder.path)} cannot be resumed, since its {cause}; put back what was there, or start anew"
            )


def note_resumption(folder: RunFolder, place: Place, environment: dict[str, Any]) -> None:
    """Append to `resumes.jsonl` from which step the run goes on, and what is not as it was."""
    record = {
        "step": place.steps,
        "epoch": place.recorded,
        "changes": [dataclasses.asdict(cause) for cause in _changes(folder, environment)],
        "time": int(time.time() * 1000),
    }
    with folder.resumes.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _changes(folder: RunFolder, environment: dict[str, Any]) -> list[Cause]:
    if not folder.environment.exists():  # killed before it was written
        return []
    began: dict[str, Any] = json.loads(folder.environment.read_text(encoding="utf-8"))
    return [cause for cause in causes_between(began, environment) if cause.before != cause.after]
