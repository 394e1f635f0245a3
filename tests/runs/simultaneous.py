"""What each of several processes does at the same moment. In a module of its own, so that they start quickly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_experiments.runs import store, tracker
from llama_experiments.runs.follower import Follower
from llama_experiments.runs.mirrored import Mirrored
from tests.runs.folders import epoch_record, made_folder


def mirror_a_run(number: int, folder: Path, start: Any) -> None:
    """Mirror a run with `folder` as its output folder, where each store that is made leaves a line in `made`."""
    make = store.create_store

    def noted(file: Path) -> None:
        with (folder / "made").open("a") as stream:
            stream.write(f"{number}\n")
        make(file)

    store.create_store = noted
    tracker.prepare_environment()
    import mlflow  # noqa: F401

    run = made_folder(folder / "runs" / f"run{number}", [epoch_record(0, None, number / 4)])
    start.wait(timeout=120)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    follower = Follower(run, uri, Mirrored(f"uid{number}", uri, "llama_experiments"))
    follower.open()
    follower.close("FINISHED")
