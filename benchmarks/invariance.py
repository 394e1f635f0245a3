"""What must change no number: passes, evaluation batches, layout, processes, shares of the weights.

By hand; whole runs of the embedded model, each of one epoch:

    python benchmarks/invariance.py                     # some minutes
    python benchmarks/invariance.py --rows 1000         # of training

For each task and row of the table the largest difference from the run in one process with the defaults, in nats
an item: of the loss while training in the first epoch, of the evaluation losses before it and after it. A task's own
line is that run. On two cores it gave:

    largest difference in                                     train_loss    eval_loss before     eval_loss after
    sentiment                                                   0.714038            0.716819            0.686113
      micro-batches of 1, 3, 8                                   1.2e-07             0.0e+00             1.0e-07
      evaluation batches of 1, 3, 8, 64                          0.0e+00             3.6e-09             1.0e-08
      padded, packed                                             1.2e-08             1.3e-08             7.9e-08
      packed, micro-batches of 1, 3                              6.8e-08             1.3e-08             8.9e-08
      1, 2, 4 processes                                          1.2e-07             0.0e+00             1.3e-07
      2, 4 processes, micro-batches of 1                         4.6e-08             0.0e+00             7.3e-08
      2, 4 processes, weights in shares                          4.0e-08             3.0e-09             2.6e-08
      head only: trunk each time, once, kept, found              0.0e+00             0.0e+00             6.1e-10
    question_answering                                          4.324689            4.910658            3.947490
      micro-batches of 1, 3, 8                                   1.1e-07             0.0e+00             2.3e-07
      evaluation batches of 1, 3, 8, 64                          0.0e+00             0.0e+00             0.0e+00
      padded, packed                                             1.2e-07             4.9e-08             9.7e-09
      packed, micro-batches of 1, 3                              1.9e-07             4.9e-08             1.2e-07
      1, 2, 4 processes                                          1.6e-07             0.0e+00             1.4e-07
      2, 4 processes, micro-batches of 1                         8.2e-08             0.0e+00             1.6e-07
      2, 4 processes, weights in shares                          1.1e-07             0.0e+00             1.4e-07
      head only: trunk each time, once, kept, found              0.0e+00             0.0e+00             0.0e+00
    text_generation                                             1.687351            1.653773            1.607369
      micro-batches of 1, 3, 8                                   3.9e-08             0.0e+00             9.9e-09
      evaluation batches of 1, 3, 8, 64                          0.0e+00             8.2e-10             2.1e-09
      padded, packed                                             1.9e-08             7.7e-09             1.5e-08
      packed, micro-batches of 1, 3                              3.9e-08             7.7e-09             2.1e-08
      1, 2, 4 processes                                          5.6e-08             0.0e+00             1.6e-08
      2, 4 processes, micro-batches of 1                         4.2e-08             0.0e+00             1.5e-08
      2, 4 processes, weights in shares                          2.9e-08             0.0e+00             1.3e-08
      head only: trunk each time, once, kept, found              0.0e+00             0.0e+00             1.4e-10
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TASKS = ("sentiment", "question_answering", "text_generation")
VALUES = ("train_loss", "eval_loss before", "eval_loss after")
# A row: what is varied, and training's settings in each of its runs.
ROWS: dict[str, list[dict[str, Any]]] = {
    "micro-batches of 1, 3, 8": [{"micro_batch_size": size} for size in (1, 3, 8)],
    "evaluation batches of 1, 3, 8, 64": [{"evaluation_batch_size": size} for size in (1, 3, 8, 64)],
    "padded, packed": [{"layout": layout} for layout in ("padded", "packed")],
    "packed, micro-batches of 1, 3": [{"layout": "packed", "micro_batch_size": size} for size in (1, 3)],
    "1, 2, 4 processes": [{"processes": number} for number in (1, 2, 4)],
    "2, 4 processes, micro-batches of 1": [{"processes": number, "micro_batch_size": 1} for number in (2, 4)],
    "2, 4 processes, weights in shares": [{"processes": number, "sharding": "fsdp"} for number in (2, 4)],
    "head only: trunk each time, once, kept, found": [  # beside its own first
        {"technique": "freeze", "trunk_cache_gb": 0.0},
        {"technique": "freeze", "trunk_cache": "off"},
        {"technique": "freeze"},
        {"technique": "freeze", "again": True},
    ],
}
Losses = list[float]


def measure(tasks: list[str], variations: list[dict[str, Any]], rows: int, folder: Path) -> dict[str, Losses]:
    """The losses of each run, in this process and those started with it: (task, settings) as JSON -> values."""
    from llama_experiments.command_line.composition import compose_command
    from llama_experiments.command_line.launching import build_experiment
    from llama_experiments.runs.folder import RunFolder
    from llama_experiments.runs.journal import read_journal

    found = {}
    for task in tasks:
        sizes = [f"dataset.train_examples={rows}", f"dataset.validation_examples={rows // 2}"]
        overrides = [f"task={task}", *sizes, "training.epochs=1", "training.save_model=none", f"output_dir={folder}"]
        extra = ["task.sample_tokens=0"] if task == "text_generation" else []
        for number, settings in enumerate(variations):
            technique = f"technique={settings.get('technique', 'full')}"
            experiment = build_experiment(compose_command([*overrides, *extra, technique]))
            of_training = {name: value for name, value in settings.items() if name not in ("technique", "again")}
            training = dataclasses.replace(experiment.training, **of_training)
            run = folder / f"{task}-{os.environ.get('WORLD_SIZE', '1')}-{number}"
            dataclasses.replace(experiment, training=training).run(run, {}, [], {})
            before, after = read_journal(RunFolder(run).epochs)
            found[key(task, settings)] = [after["train_loss"], before["eval_loss"], after["eval_loss"]]
    return found


def key(task: str, settings: Mapping[str, Any]) -> str:
    return json.dumps([task, settings], sort_keys=True)


def in_processes(number: int, tasks: list[str], variations: list[dict[str, Any]], rows: int) -> dict[str, Losses]:
    """The same in a process of its own, or in several; what the runs print is dropped."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(number)] if number > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        asked = json.dumps([tasks, variations, rows, folder])
        command = [sys.executable, *launcher, str(Path(__file__).resolve()), "--measure", asked]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return dict(json.loads((Path(folder) / "losses.json").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=99, help="training rows, of which an epoch's last step is uneven")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        tasks, variations, rows, folder = json.loads(options.measure)
        losses = measure(tasks, variations, rows, Path(folder))
        if os.environ.get("RANK", "0") == "0":
            (Path(folder) / "losses.json").write_text(json.dumps(losses))
        return
    all_runs = [settings for runs in ROWS.values() for settings in runs]
    losses = {}
    for number in sorted({settings.get("processes", 1) for settings in all_runs}):
        here = [settings for settings in all_runs if settings.get("processes", 1) == number]
        losses |= in_processes(number, options.tasks, [{}, *here] if number == 1 else here, options.rows)
    print(f"{'largest difference in':48}" + "".join(f"{value:>20}" for value in VALUES))
    for task in options.tasks:
        base = losses[key(task, {})]
        print(f"{task:48}" + "".join(f"{value:20.6f}" for value in base))
        for row, runs in ROWS.items():
            of_runs = [losses[key(task, settings)] for settings in runs]
            beside = of_runs[0] if "technique" in runs[0] else base
            largest = [max(abs(run[at] - beside[at]) for run in of_runs) for at in range(len(VALUES))]
            print(f"  {row:46}" + "".join(f"{value:20.1e}" for value in largest))


if __name__ == "__main__":
    main()
