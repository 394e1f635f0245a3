"""reproduce RUN [overrides]: run a run's saved config again, and compare every number; overrides make it another run.

RUN is a run's folder or its id in MLflow. Without overrides every recorded loss and the final weights are compared:
*identical* (exit status 0), or the first that differs, by how much, and the likely cause (exit status 1). The data,
the starting weights, the code, the versions and the number of threads are compared as well. What a setting left to
the machine (training.precision=auto) is what the run recorded.

    python -m llama_experiments reproduce outputs/2026-11-25/01-53-31-sentiment-embedded-full
    python -m llama_experiments reproduce RUN training.learning_rate=3e-4
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from llama_experiments.errors import UserError
from llama_experiments.paths import show

DIFFERENT = 1  # exit status


def run(arguments: list[str]) -> int:
    """Run it again, compare, and say so."""
    from llama_experiments.cli import run_arguments
    from llama_experiments.files import write_text
    from llama_experiments.runs.arithmetic import recorded_arithmetic
    from llama_experiments.runs.folder import RunFolder
    from llama_experiments.runs.reproduction import check_recorded, compare_with
    from llama_experiments.runs.saved import SavedRun, find_run, is_run

    named = [word for word in arguments if is_run(word)]
    overrides = [word for word in arguments if word not in named]
    if len(named) != 1:
        raise UserError("reproduce takes one run, and after it overrides written setting=value")
    uri = next((word.partition("=")[2] for word in overrides if word.startswith("tracker.uri=")), None)
    old = find_run(named[0], uri)
    old.refuse_newer()
    check_recorded(old)
    threads = old.environment()["device"]["threads"]
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch is imported

    config = old.config()
    given = {word.lstrip("+~").partition("=")[0] for word in overrides}
    folder = Path(str(config["output_dir"]), f"{datetime.now():%Y-%m-%d/%H-%M-%S}-reproduced-{old.name}")
    place = next((word.partition("=")[2] for word in overrides if word.startswith("hydra.run.dir=")), None)
    if place is None:
        quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
        overrides.append(f"hydra.run.dir='{quoted}'")
    else:
        folder = Path(place.strip("'\""))
    open_ones = config["training"].get("precision", "auto"), config["model"].get("attention", "auto")
    decided = {key: value for key, value in recorded_arithmetic(old, *open_ones).items() if key not in given}
    overrides += [f"{key}={value}" for key, value in decided.items()]
    print(f"running {old.name} again, into {show(folder)}", flush=True)
    status = run_arguments(["--config-path", str(old.folder.hydra), *overrides])
    new = SavedRun(RunFolder(folder))
    if status != 0 or not new.folder.environment.exists():
        return status
    changes = {key: both for key, both in _changes(config, new.config()).items() if key not in decided}
    if changes and not given <= {"tracker.uri", "hydra.run.dir"}:
        return _tell_both(old, new, changes)
    compared = compare_with(old, new, changes)
    write_text(folder / "reproduction.json", json.dumps({"of": old.name, **compared.record()}, indent=2) + "\n")
    state = old.state()
    if state.state != "finished":
        print(f"{old.name} was {state.state}; what it had recorded is compared")
    print("\n".join(compared.lines()))
    return 0 if compared.identical else DIFFERENT


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ and can change a number: what they were, what they are."""
    from llama_experiments.config import leaves
    from llama_experiments.runs.identity import what_counts

    before, after = leaves(what_counts(old)), leaves(what_counts(new))
    keys = dict.fromkeys([*before, *after])
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _tell_both(old: Any, new: Any, changes: dict[str, tuple[Any, Any]]) -> int:
    """A run with other settings is not expected to be the same: both results, side by side."""
    for key, (was, now) in changes.items():
        print(f"{key}: {was}, now {now}")
    results = [run.result() for run in (old, new)]
    losses = ["none" if result is None else result.eval_loss for result in results]
    told = [f"{loss:.4f}" if isinstance(loss, float) else str(loss) for loss in losses]
    print(f"evaluation loss: {told[0]}, now {told[1]}")
    return 0
