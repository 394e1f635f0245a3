"""Runs that SIGKILL ends at random moments, and that must go on as if nothing had happened. By hand: minutes.

    python -m tests.torture.kills [kills=72] [seed=0] [folder=/tmp/kills] [only=NAME]

Each case is run without a kill. Then it is started again and again, and killed: at a random call of what writes
a journal, a checkpoint, a model, a point in MLflow, a report, or that evaluate (see `killed.MOMENTS`), or at a
random time. A third of those resumed are killed once or several times more. In the end weights, losses,
predictions, sample ledger, what was written and the points in MLflow must be those of the run without a kill.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.torture.killed import MOMENTS, At, command, left_by

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

SMALL = ["dataset.train_examples=36", "dataset.validation_examples=16", "training.evaluation_batch_size=8"]
SMALL += ["training.epochs=3", "training.learning_rate=1e-3", "training.checkpoint.every_steps=2"]
SMALL += ["tracker.every_steps=1"]
TASKS = ("sentiment", "question_answering", "text_generation")
CASES = {f"{task} {technique}": [f"task={task}", f"technique={technique}"] for task in TASKS
         for technique in ("full", "freeze", "lora")} | {
    "few_shot": ["task=sentiment", "technique=few_shot"],
    "prompt": ["task=question_answering", "technique=prompt"],
    "learning_rate": ["task=sentiment", "technique=learning_rate"],
    "tuning": ["task=sentiment", "tuning=learning_rate", "tuning.multipliers=[1,3]"],
    "test part": ["task=question_answering", "dataset.test=${dataset.validation}", "training.save_model=best"],
    "save last": ["task=text_generation", "training.save_model=last", "dataset.test=${dataset.validation}"],
    "early stopping": ["task=sentiment", "training.learning_rate=3e-2", "training.early_stopping=1",
                       "training.epochs=6"],
    "evaluate every 2": ["task=question_answering", "training.evaluate_every=2", "training.epochs=5"],
    "dropout": ["task=sentiment", "technique=lora", "technique.dropout=0.2", "training.micro_batch_size=3"],
}  # fmt: skip


@dataclasses.dataclass
class Case:
    """A command line, how it ends when nobody kills it, and what befell those that were killed."""

    name: str
    folder: Path
    whole: dict[str, Any]
    calls: dict[str, int]  # how often each moment comes
    seconds: float
    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    resumed: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    def run(self, name: str) -> Path:
        return self.folder / "o" / "a" / name

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'o' / 'mlflow.db'}"


def start(folder: Path, case: str, name: str, *signals: At | float, counts: Path | None = None) -> int:
    place = [f"output_dir={folder / 'o'}", f"hydra.run.dir={folder / 'o' / 'a' / name}"]
    return command(folder, [*SMALL, *CASES[case], *place], *signals, counts=counts)


def whole(folder: Path, name: str) -> Case:
    """Run a case to its end, twice: the second is timed, and its moments are counted."""
    folder.mkdir(parents=True)
    if start(folder, name, "whole") != 0:
        raise SystemExit(f"{name} does not run:\n{(folder / 'log.txt').read_text()[-3000:]}")
    counts, began = folder / "counts.json", time.monotonic()
    start(folder, name, "counted", counts=counts)
    seconds = time.monotonic() - began
    case = Case(name, folder, {}, json.loads(counts.read_text()), seconds)
    case.whole = left_by(case.run("whole"), case.uri)
    if left_by(case.run("counted"), case.uri) != case.whole:
        case.wrong.append("two runs without a kill differ")
    return case


def moment(case: Case, chance: random.Random, kind: str) -> At | float:
    """A random call of a kind of moment, or a random time."""
    if kind == "time" or not case.calls[kind]:
        return chance.uniform(0.05, case.seconds)
    return At(kind, chance.randint(1, case.calls[kind]))


def kill(case: Case, number: int, chance: random.Random, kind: str) -> None:
    """Start a run, kill it, resume it until it ends, and compare."""
    name = f"run{number}"
    at = [moment(case, chance, kind)]
    while chance.random() < 1 / 3:
        at.append(moment(case, chance, chance.choice(["time", *MOMENTS])))
    told = ", ".join(str(one) if isinstance(one, At) else f"{one:.2f} s" for one in at)
    began, status = False, -1
    for one in [*at, None]:
        signals = [one] if one is not None else []
        state = case.run(name) / "state.json"
        if began and json.loads(state.read_text())["state"] == "finished":
            command(case.folder, ["resume", str(case.run(name))])  # which refuses, and takes away what is left over
            status = 0
            break
        if began:
            case.resumed += 1
            status = command(case.folder, ["resume", str(case.run(name))], *signals)
        else:
            status = start(case.folder, case.name, name, *signals)
        if os.WIFSIGNALED(status):
            case.kills["time" if isinstance(one, float) else one.moment if one is not None else "?"] += 1
        began = state.exists()
    if status != 0 and not os.WIFSIGNALED(status):
        said = (case.folder / "log.txt").read_text()[-1500:]
        case.wrong.append(f"{name} ({told}): ended with {os.waitstatus_to_exitcode(status)}: {said}")
        return
    try:
        left = left_by(case.run(name), case.uri)
    except Exception as error:
        case.wrong.append(f"{name} ({told}): {type(error).__name__}: {error}")
        return
    differ = [key for key in case.whole if left[key] != case.whole[key]]
    if differ:
        case.wrong.append(f"{name} ({told}): other {', '.join(differ)}")
    else:
        shutil.rmtree(case.run(name))


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    chance = random.Random(int(given.get("seed", "0")))
    folder = Path(given.get("folder") or tempfile.mkdtemp(prefix="kills-"))
    names = [name for name in CASES if given.get("only", name) == name]
    kinds = [kind for kind in ("time", *MOMENTS) for _ in range(1 + 2 * (kind == "time"))]
    cases = []
    each = max(1, int(given.get("kills", "72")) // len(names))
    print(f"in {folder}", flush=True)
    for name in names:
        case = whole(folder / name.replace(" ", "_"), name)
        cases.append(case)
        possible = [kind for kind in kinds if kind == "time" or case.calls[kind]]
        # Each case has its own share of the kinds of moments, so that all come.
        chance.shuffle(possible)
        for number in range(each):
            kill(case, number, chance, possible[number % len(possible)])
        done = f"{sum(case.kills.values()):3} kills {case.resumed:3} resumed  {len(case.wrong)} wrong"
        print(f"{name:<28} {case.seconds:5.1f} s  {done}", flush=True)
        for line in case.wrong:
            print(f"    {line}", flush=True)
    kills = sum((case.kills for case in cases), Counter[str]())
    print("\nkilled in: " + ", ".join(f"{kind} {number}" for kind, number in sorted(kills.items())))
    wrong = sum(len(case.wrong) for case in cases)
    print(f"{kills.total()} kills, {sum(case.resumed for case in cases)} times resumed, {wrong} runs wrong")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
