"""How quick a store of many runs is: 1,000 of 30 parameters and 12 points, and as many folders.

    python benchmarks/store.py [runs=1000] [folder=FOLDER]

Prints the seconds, and those of the processor, of a page of 100 runs (under 0.5 is asked), and of the commands `runs`
and `compare` of eight folders and of eight ids (under 2, each with the start of its process).
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.runs.mirrored import Mirrored, new_uid, read_mirrored
from llama_experiments.runs.tracker import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

TINY = ["dataset.train_examples=24", "dataset.validation_examples=40", "training.save_model=none"]
PARAMETERS, EPOCHS, COMPARED = 30, 4, 8


def main() -> None:
    """Fill a store and measure."""
    settings = {"runs": "1000", "folder": ""} | dict(word.split("=", 1) for word in sys.argv[1:])
    folder = Path(settings["folder"] or tempfile.mkdtemp(prefix="store-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    first = Path("outputs", "2026-01-01", "first")
    command(*TINY, f"training.epochs={EPOCHS - 1}", f"hydra.run.dir={first}")
    told = read_mirrored(first)
    assert told is not None
    client = connect(told.uri)
    started = time.perf_counter()
    places = [filled(client, first, told, number) for number in range(int(settings["runs"]) - 1)]
    print(f"{(time.perf_counter() - started) / len(places):.3f} s to make a run")
    size = Path("outputs", "mlflow.db").stat().st_size / 2**20
    print(f"{len(places) + 1:,} runs in a store of {size:.1f} MB")
    page, busy = [], time.process_time()
    for _ in range(7):
        started = time.perf_counter()
        found = client.search_runs([str(told.experiment_id)], max_results=100)
        page.append(time.perf_counter() - started)
        assert len(found) == 100
    busy = (time.process_time() - busy) / 7
    print(f"a page of 100: median {sorted(page)[3]:.3f} s, worst {max(page):.3f} s, of the processor {busy:.3f} s")
    chosen = places[:: max(1, len(places) // COMPARED)][:COMPARED]
    mirrored = [read_mirrored(place) for place in chosen]
    ids = [str(one.run_id) for one in mirrored if one is not None]
    words = list(map(str, chosen))
    for name, arguments in {
        "runs": ["runs"],
        "compare of eight folders": ["compare", *words],
        "compare of eight folders, mlflow=false": ["compare", *words, "mlflow=false"],
        "compare of eight ids": ["compare", *ids],
    }.items():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = sorted(command(*arguments) for _ in range(3))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3
        print(
            f"{name}: {seconds[1]:.2f} s (from {seconds[0]:.2f} to {seconds[2]:.2f}), of the processor {busy:.2f} s"
        )


def command(*arguments: str) -> float:
    """Seconds that a command takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "llama_experiments", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def filled(client: MlflowClient, first: Path, told: Mirrored, number: int) -> Path:
    """One more run, in the store and as a folder of its own: the first one's with another seed."""
    from mlflow.entities import Metric, Param

    place = first.parent.parent / f"2026-01-{2 + number % 28:02}" / f"run-{number:04}"
    shutil.copytree(first, place)
    config = place / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0\n", f"seed: {number + 1}\n", 1))
    tags = {"run_uid": new_uid(), "run_folder": str(place.resolve()), "task": "sentiment", "technique": "full"}
    run = client.create_run(str(told.experiment_id), run_name=place.name, tags=tags)
    points = [
        Metric(key, 1 / (epoch + 1) + number * 1e-4, 1_700_000_000_000 + epoch, epoch)
        for key in ("train_loss", "eval_loss", "accuracy")
        for epoch in range(EPOCHS)
    ]
    parameters = [Param(f"group.setting{setting}", str(number + setting)) for setting in range(PARAMETERS)]
    client.log_batch(run.info.run_id, metrics=points, params=parameters)
    client.set_terminated(run.info.run_id)
    mine = dataclasses.replace(told, run_uid=tags["run_uid"], run_id=run.info.run_id)
    (place / "tracker.json").write_text(json.dumps(dataclasses.asdict(mine)))
    return place


if __name__ == "__main__":
    main()
