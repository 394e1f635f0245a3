"""What each of several processes does at the same moment. In a module of its own, so that they start quickly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_experiments.runs import mirror


def mirror_a_run(number: int, folder: Path, start: Any) -> None:
    """Mirror a run with `folder` as its output folder, where each store that is made leaves a line in `made`."""
    make = mirror._create_store

    def noted(file: Path) -> None:
        with (folder / "made").open("a") as stream:
            stream.write(f"{number}\n")
        make(file)

    mirror._create_store = noted
    mirror.prepare_environment()
    import mlflow  # noqa: F401

    start.wait(timeout=120)
    run = mirror.Mirror(mirror.Tracker(), folder, lambda sentence: (folder / f"failed{number}").touch())
    run.start(f"run{number}", {"number": number}, {}, {})
    epoch = {"epoch": 0, "train_loss": None, "eval_loss": number / 4, "metrics": {}, "time": 1_700_000_000_000}
    run.epoch(epoch)
    run.finish("FINISHED", [], "")
