"""What checkpoints cost, and how long a run that is asked to stop takes to do so.

    python benchmarks/checkpoints.py [steps=40] [folder=FOLDER]

For the embedded model and for a shape of 15 million parameters: seconds of a step and of a checkpoint, the share of
the training that checkpoints take at `every_steps=1`, and at the default interval (under 3% is asked). Then the
default run, sent a SIGTERM in its steps: the seconds until it has ended (under 10 are asked).
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from llama_experiments.training.checkpoints import SHARE, Checkpointing, Checkpoints

SHAPES = {
    "embedded, 0.5 million": ["model=embedded"],
    "15 million": [
        "model=embedded_from_scratch",
        *(f"model.{key}={value}" for key, value in {"hidden_size": 384, "intermediate_size": 1376}.items()),
        *(
            f"model.{key}={value}"
            for key, value in {"num_hidden_layers": 7, "num_attention_heads": 6, "num_key_value_heads": 6}.items()
        ),
    ],
}


def main() -> None:
    """Measure both, and print."""
    settings = {"steps": "40", "folder": ""} | dict(word.split("=", 1) for word in sys.argv[1:])
    folder = Path(settings["folder"] or tempfile.mkdtemp(prefix="checkpoints-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    interval = 60 * (Checkpointing().every_minutes or 0.0)
    for number, (shape, arguments) in enumerate(SHAPES.items()):
        step, costs, size = trained(arguments, int(settings["steps"]), Path("outputs", "a", str(number)))
        cost = statistics.median(costs)
        least = max(interval, cost / SHARE)
        print(
            f"{shape:<24} step {step * 1000:6.0f} ms  checkpoint {cost * 1000:6.0f} ms, {size / 2**20:.1f} MiB  "
            f"share at every step {cost / (step + cost):.1%}, at the default interval {cost / (least + cost):.2%}",
            flush=True,
        )
    print(f"from SIGTERM to the exit of the default run: {stopped(Path('outputs', 'a', 'stopped')):.2f} s")


def trained(arguments: list[str], steps: int, run: Path) -> tuple[float, list[float], int]:
    """Median seconds of a step, those of each checkpoint, and a checkpoint's bytes."""
    from llama_experiments.cli import main as command

    costs: list[float] = []
    sizes: list[int] = []
    save = Checkpoints.save

    def timed(self: Checkpoints, *values: Any) -> None:
        began = time.perf_counter()
        save(self, *values)
        costs.append(time.perf_counter() - began)
        sizes.append(sum(file.stat().st_size for file in (run / "checkpoints").glob("*/*")) // len(self._taken()))

    Checkpoints.save = timed  # type: ignore[method-assign]
    try:
        sys.argv = ["llama_experiments"]
        status = command(
            [
                *arguments,
                f"dataset.train_examples={8 * steps}",
                "dataset.validation_examples=16",
                "training.epochs=1",
                "training.save_model=none",
                "training.checkpoint.every_steps=1",
                f"hydra.run.dir={run}",
            ]
        )
    finally:
        Checkpoints.save = save  # type: ignore[method-assign]
    assert status == 0
    made = [json.loads(line)["seconds"] for line in (run / "steps.jsonl").read_text().splitlines()]
    return statistics.median(made), costs, sizes[-1]


def stopped(run: Path) -> float:
    """Seconds from the signal to the end of the process."""
    line = [sys.executable, "-m", "llama_experiments", f"hydra.run.dir={run}"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    steps = run / "steps.jsonl"
    while not steps.exists() or len(steps.read_text().splitlines()) < 20:
        time.sleep(0.1)
        assert process.poll() is None, "it has ended by itself"
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
