"""How our cost grows: with rows, with the size of the model, and with the values of a sweep over a frozen trunk.

    python benchmarks/scaling.py --out FOLDER
    python benchmarks/scaling.py --out FOLDER --table rows,sweep

Each figure is a command of ours, a process by itself, with nothing kept from one to the next. Beside the seconds of
training (an epoch and its evaluation) stands what a token of it took, which is to stay the same as rows grow, and
the share of the whole process, which is to rise. Other users of the machine disturb seconds; CPU seconds less.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from side_by_side.cases import CASES, Case
from side_by_side.data import write_rows
from side_by_side.measure import run_child
from side_by_side.models import model_folder
from side_by_side.ours import arguments, read_run
from side_by_side.table import write_csv

ROWS = Case(name="rows", about="SST-2, stories260K", model="260K", data="sst2", rows=(250, 50), length=128, epochs=1)
SIZES = Case(
    name="sizes", about="book reviews, 512 tokens", model="260K", data="books", rows=(64, 32), length=512, epochs=1
)
SWEEP = dataclasses.replace(CASES["freeze"], name="sweep")
TABLES = ("rows", "sizes", "sweep")


def main() -> None:
    """Run the tables that were asked for, and print and save them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/scaling"), help="a folder; %(default)s")
    parser.add_argument("--table", default=",".join(TABLES), help="of %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="%(default)s")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    found: list[dict[str, object]] = []
    for table in options.table.split(","):
        print(f"\n{table}: {globals()[table.upper()].about}; {options.threads} threads")
        print(f"{'':<10}{'process s':>11}{'CPU s':>8}{'training s':>12}{'CPU s':>8}{'tokens':>10}{'us a token':>12}")
        for label, case, rates in _cases(table):
            row = {"table": table, "what": label} | _run(case, out / f"{table}-{label}", out, environment, rates)
            print(
                f"{label:<10}{row['process']:>11.1f}{row['process_cpu']:>8.1f}{row['training']:>12.1f}"
                f"{row['training_cpu']:>8.1f}{row['tokens']:>10,}{row['us_a_token']:>12.1f}",
                flush=True,
            )
            found.append(row)
            write_csv(out / "scaling.csv", found)


def _cases(table: str) -> list[tuple[str, Case, int]]:
    """A label, the case, and how many learning rates it sweeps over."""
    if table == "rows":
        training, evaluation = ROWS.rows
        return [
            (f"{times}x", dataclasses.replace(ROWS, rows=(training * times, evaluation * times)), 1)
            for times in (1, 4, 16)
        ]
    if table == "sizes":
        return [(size, dataclasses.replace(SIZES, model=size), 1) for size in ("260K", "6M", "15M", "110M")]
    return [(f"{rates} rates", dataclasses.replace(SWEEP, runs=rates), rates) for rates in (1, 8, 64)]


def _run(case: Case, folder: Path, out: Path, environment: dict[str, str], rates: int) -> dict[str, float]:
    (folder / "outputs").mkdir(parents=True)
    files = write_rows(case, folder)
    work = case.work(model=str(model_folder(case.model, out)), bf16=False, **files)
    command = [
        sys.executable,
        "-m",
        "llama_experiments",
        *arguments(dataclasses.replace(case, runs=1), work, folder, []),
    ]
    if rates > 1:
        swept = [f"{1e-4 * 1.1**number:.6g}" for number in range(rates)]
        command = [part for part in command if not part.startswith(("training.learning_rate", "hydra.run.dir"))]
        command += ["-m", f"training.learning_rate={','.join(swept)}", f"hydra.sweep.dir={folder / 'run'}"]
    child = run_child(command, environment, folder)
    told = read_run(case, folder)
    training, training_cpu = child.spans([(start, end, int(sign)) for start, end, sign in told["spans"]])
    tokens = told["tokens"] * case.epochs * rates
    return {
        "process": child.wall,
        "process_cpu": child.cpu,
        "training": training,
        "training_cpu": training_cpu,
        "tokens": tokens,
        "us_a_token": training_cpu / tokens * 1e6,
        "memory": child.memory,
    }


if __name__ == "__main__":
    main()
