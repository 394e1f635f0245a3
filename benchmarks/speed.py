"""Our entrypoint beside Trainer (the tutorial's recipe, and at its best), TRL, `peft` and a bare PyTorch loop.

    python benchmarks/speed.py --quick                          # all parts work, in under three minutes
    python benchmarks/speed.py --out FOLDER                     # all cases, three times: some hours
    python benchmarks/speed.py --out FOLDER --case sentiment,books --repeat 2

Every side reads the same rows from the same files, trains on the same tokens of them and starts from the same weights
(heads are drawn by each). Sides alternate. Each is a process of its own, with the same number of threads
(OMP_NUM_THREADS), without network. All but the two loops save the best epoch's model (the tutorial: each epoch's
checkpoint) and track in MLflow, in a store that is ready. Nothing tokenized is kept from one run to the next. A
rival's part in a sweep is one run, times the number of rates.

*process* is the whole command, *training* the epochs with their evaluations, without loading and saving; seconds, and
seconds of CPU, which other users of the machine disturb less: ratios are of the lowest CPU seconds. Trainer's
evaluation losses are means of batch means, and TRL's rows are packed ones, so they differ a little from ours.

Figures to quote come from an idle machine with all its cores. Beside other users take --threads 1: threads that wait
for each other spend most of such a run, and even so bf16 shows less of what it gains.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

from side_by_side import ours
from side_by_side.cases import BF16_FROM, CASES, TRL, Case, Work
from side_by_side.data import PROJECT, write_rows
from side_by_side.measure import run_child
from side_by_side.models import hidden_size, model_folder
from side_by_side.table import OURS, Measured, as_text, draw, summary, write_csv

RIVAL = Path(__file__).with_name("side_by_side") / "rival.py"


def main() -> None:
    """Run the cases; the table so far is saved after each."""
    options = _options()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment = sides_environment(out, options.threads, options.extra)
    chosen = [
        case
        for case in CASES.values()
        if (case.name in options.case if options.case else case.quick is options.quick)
    ]
    print(f"{options.threads} threads, {options.repeat} times; files are in {out}", flush=True)
    chosen = [case.of(options.share) for case in chosen]
    runs: list[Measured] = []
    rows = []
    for case in chosen:
        runs += (found := _run_case(case, out, options, environment))
        rows += (told := summary(case, found))
        print(f"\n{as_text(case, told)}", flush=True)
        write_csv(out / "speed.csv", rows)
        write_csv(out / "runs.csv", [dataclasses.asdict(run) for run in runs])
        draw(out / "speed.png", rows, options.threads)
    print(f"\n{out / 'speed.csv'}, runs.csv, speed.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=lambda names: names.split(","), help=f"of {', '.join(CASES)}")
    parser.add_argument("--side", type=lambda names: names.split(","), help="only these of a case's sides")
    parser.add_argument("--repeat", type=int, help="3; with --quick 1")
    parser.add_argument("--quick", action="store_true", help="small cases: that all works")
    parser.add_argument("--share", type=float, default=1.0, help="of a case's rows, where time is short")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every side; %(default)s")
    parser.add_argument("--out", type=Path, default=Path("outputs/speed"), help="a folder; %(default)s")
    parser.add_argument("--extra", type=Path, help="a folder where TRL is installed, where it is not beside us")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides for our side")
    options = parser.parse_args()
    options.repeat = options.repeat or (1 if options.quick else 3)
    for name in options.case or []:
        if name not in CASES:
            parser.error(f"there is no case '{name}'; there are {', '.join(CASES)}")
    return options


def sides_environment(out: Path, threads: int, extra: Path | None) -> dict[str, str]:
    paths = [str(PROJECT), *([str(extra.resolve())] if extra else [])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "HF_HOME": str(out / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_EXPERIMENT_NAME": "llama_experiments",
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",  # of the rival's own folder
    }


def _run_case(case: Case, out: Path, options: argparse.Namespace, environment: dict[str, str]) -> list[Measured]:
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = write_rows(case, folder)
    model = str(model_folder(case.model, out))
    work = case.work(model=model, bf16=hidden_size(case.model) >= BF16_FROM and has_bf16(), **files)
    sides = [side for side in case.sides if not options.side or side in options.side]
    if TRL in sides and not (importlib.util.find_spec(TRL) or (options.extra and (options.extra / TRL).exists())):
        print("TRL is not installed (--extra FOLDER): its side is left out")
        sides.remove(TRL)
    found = []
    for number in range(options.repeat):
        for side in sides:
            own = own_folder(folder / f"{side}-{number}", out, environment)
            found.append(run_side(case, work, side, own, environment, options.set))
            print(f"  {case.name} {side} {found[-1].process:.1f} s, training {found[-1].training:.1f} s", flush=True)
    return found


def own_folder(folder: Path, out: Path, environment: dict[str, str]) -> Path:
    """Make the folder of one side's process, with a store of MLflow where it looks for one."""
    (folder / "outputs").mkdir(parents=True)
    for place in (folder, folder / "outputs"):
        shutil.copy(_tracker(out, environment), place / "mlflow.db")
    return folder


def run_side(
    case: Case, work: Work, side: str, folder: Path, environment: dict[str, str], further: list[str]
) -> Measured:
    """One side's process, and what it says of itself."""
    environment = environment | {"HF_DATASETS_CACHE": str(folder / "datasets")}
    if side == OURS:
        command = [sys.executable, "-m", "llama_experiments", *ours.arguments(case, work, folder, further)]
        child = run_child(command, environment, folder)
        told, times = ours.read_run(case, folder), 1
    else:
        file = folder / "work.json"
        dataclasses.replace(work, folder=str(folder / "saved")).save(file)
        child = run_child([sys.executable, str(RIVAL), side, str(file)], environment, folder)
        told, times = json.loads(child.output.splitlines()[-1]), case.runs
    training, training_cpu = child.spans([(start, end, int(sign)) for start, end, sign in told.pop("spans")])
    return Measured(
        case=case.name,
        side=side,
        process=times * child.wall,
        process_cpu=times * child.cpu,
        training=times * training,
        training_cpu=times * training_cpu,
        memory=child.memory,
        **told,
    )


def _tracker(out: Path, environment: dict[str, str]) -> Path:
    """A ready-made store of MLflow, so that no side pays for its migrations."""
    store = out / "store" / "mlflow.db"
    if not store.exists():
        store.parent.mkdir()
        run_child([sys.executable, "-c", "import mlflow; mlflow.search_experiments()"], environment, store.parent)
    return store


def has_bf16() -> bool:
    """Whether the processor multiplies in bf16."""
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx512_bf16" in info.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
