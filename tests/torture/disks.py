"""Disks that are full, can only be read, or limit files, at every moment of a run. By hand, as root: minutes.

    python -m tests.torture.disks [folder=/tmp/disks] [only=full]

A run on a small file system of its own (tmpfs) meets a disk that is full from some moment on, or is made read-only
then; or the process may write no large files any more. It must end with a sentence that says what is wrong and where,
without a traceback, or, where only the tracker's store is concerned, well; and when there is room again it must be
resumed to the weights, losses, predictions and points in MLflow of a run that met no such thing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.torture.killed import MOMENTS, At, Full, Limited, command, left_by

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

SMALL = ["task=sentiment", "dataset.train_examples=36", "dataset.validation_examples=16"]
SMALL += ["training.evaluation_batch_size=8", "dataset.test=${dataset.validation}"]
SMALL += ["training.epochs=2", "training.learning_rate=1e-3", "training.checkpoint.every_steps=2"]
SIZE = "60m"  # of the file system: room for a run


@dataclasses.dataclass(frozen=True)
class ReadOnly(At):
    """A disk that can only be read from then on."""

    signal: signal.Signals = signal.SIGUSR2  # never sent
    folder: Path = Path()

    def __str__(self) -> str:
        return f"{self.moment}-{self.call}-read-only"

    def come(self) -> None:
        """For all files that are opened from then on: over those that are open the mount has no power."""
        subprocess.run(["mount", "--bind", str(self.folder), str(self.folder)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(self.folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def arguments(disk: Path, name: str) -> list[str]:
    return [*SMALL, f"output_dir={disk / 'o'}", f"hydra.run.dir={disk / 'o' / 'a' / name}"]


def met(folder: Path, at: At, wanted: dict[str, Any]) -> str:
    """What is wrong with a run that meets a disk's trouble at a moment; nothing where all is well."""
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    with small_disk(folder / str(at)) as disk:
        if isinstance(at, Full | ReadOnly):
            at = dataclasses.replace(at, folder=disk)
        status = os.waitstatus_to_exitcode(command(folder, arguments(disk, "run"), at))
        said = log.read_text(encoding="utf-8")
        (folder / f"{at}.txt").write_text(said)
        print(f"{at!s:<24} {status:3}  {said.strip().splitlines()[-1][-150:]}", flush=True)
        if isinstance(at, ReadOnly):
            subprocess.run(["umount", "-l", str(disk)], check=True)
        (disk / "others.bin").unlink(missing_ok=True)
        run = disk / "o" / "a" / "run"
        wrong = ["a traceback"] if "Traceback" in said else []
        if status == 2:
            last = said.strip().splitlines()[-1]
            if str(disk) not in last and os.path.relpath(disk, folder) not in last:
                wrong.append("does not say where")
            state = run / "state.json"
            if state.exists():
                if json.loads(state.read_text())["state"] not in ("failed", "running"):
                    wrong.append(f"its state is {state.read_text()}")
                resumed = command(folder, ["resume", str(run)])
            else:
                resumed = command(folder, arguments(disk, "run"))
            if resumed:
                return "; ".join([*wrong, f"is not resumed: {log.read_text()[-2000:]}"])
        elif status == 0:
            command(folder, ["sync", str(run)])
        else:
            wrong.append(f"ends with {status}: {said[-3000:]}")
            return "; ".join(wrong)
        left = left_by(run, f"sqlite:///{disk / 'o' / 'mlflow.db'}")
        differ = [key for key in wanted if left[key] != wanted[key]]
        return "; ".join([*wrong, *([f"other {', '.join(differ)}"] if differ else [])])


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    folder = Path(given.get("folder") or tempfile.mkdtemp(prefix="disks-"))
    folder.mkdir(parents=True, exist_ok=True)
    counts = folder / "counts.json"
    with small_disk(folder / "whole") as disk:
        if command(folder, arguments(disk, "run"), counts=counts):
            raise SystemExit((folder / "log.txt").read_text())
        wanted = left_by(disk / "o" / "a" / "run", f"sqlite:///{disk / 'o' / 'mlflow.db'}")
    calls = json.loads(counts.read_text())
    troubles: list[At] = []
    for moment in MOMENTS:
        middle = calls[moment] // 2 + 1
        troubles += [Full(moment, middle), ReadOnly(moment, middle), Limited(moment, middle, size=50_000)]
    troubles = [at for at in troubles if calls[at.moment] and given.get("only", "") in str(at)]
    wrong = 0
    for at in troubles:
        if told := met(folder, at, wanted):
            wrong += 1
            print(f"    WRONG: {told}", flush=True)
    print(f"{len(troubles)} troubles, {wrong} wrong")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
