"""sync RUN... [tracker.uri=...] [tracker.experiment=...] [tracker.log_model=true]: bring MLflow to the runs' folders.

RUN is a run's folder, a sweep's folder (with its jobs) or a wildcard. For runs whose tracker was down, slow or full,
or that were copied from another machine. The journal is the truth: every point that is not in MLflow yet is sent,
none twice, with parameters, tags, data sets, artifacts and state; a second sync sends nothing. tracker.uri brings
them to another store; tracker.log_model=true copies their weights there, too.

    python -m llama_experiments sync outputs/2026-11-25/12-00-00-sentiment-embedded-full
    python -m llama_experiments sync 'outputs/2026-11-25/*' tracker.uri=http://server:5000
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from llama_experiments.errors import UserError, offer

SETTINGS = ("tracker.uri", "tracker.experiment", "tracker.log_model")


def run(arguments: list[str]) -> int:
    """Sync them, a line each."""
    from llama_experiments.comparison.compared import find_runs, matching
    from llama_experiments.runs.sync import sync_run, tracker_of
    from llama_experiments.sweeps.sync import sync_sweep, tracker_of_sweep

    settings = dict(word.split("=", 1) for word in arguments if word.startswith("tracker."))
    for key in settings:
        if key not in SETTINGS:
            raise UserError(f"sync has no setting '{key}'; {offer(key, SETTINGS, 'settings')}")
    words = [word for word in arguments if not word.startswith("tracker.")]
    if not words:
        raise UserError("sync needs runs: folders, a sweep's folder, or a wildcard")
    changes: dict[str, Any] = {key.removeprefix("tracker."): value for key, value in settings.items()}
    if "log_model" in changes:
        if changes["log_model"] not in ("true", "false"):
            raise UserError(f"tracker.log_model: must be true or false, not '{changes['log_model']}'")
        changes["log_model"] = changes["log_model"] == "true"
    for word in words:
        for match in matching(word):
            if (Path(match) / "sweep.json").is_file():
                tracker = dataclasses.replace(tracker_of_sweep(Path(match)), **changes)
                for folder, sent in sync_sweep(Path(match), tracker):
                    _tell(folder, sent)
            else:
                for saved in find_runs([match], settings.get("tracker.uri")):
                    tracker = dataclasses.replace(tracker_of(saved.folder), **changes)
                    _tell(saved.folder.path, sync_run(saved, tracker))
    return 0


def _tell(folder: Path, sent: dict[str, int]) -> None:
    from llama_experiments.paths import show

    told = ", ".join(f"{number:,} {what.removesuffix('s' * (number == 1))}" for what, number in sent.items())
    print(f"{show(folder)}: {told + ' sent' if told else 'is up to date'}", flush=True)
