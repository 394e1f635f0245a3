"""What the framework costs a job of a sweep beyond the job's own training, and whether memory grows.

    python benchmarks/sweep_cost.py                # 200 tiny jobs in one process
    python benchmarks/sweep_cost.py 50

A job's cost is its time, from its start to the start of the next, without its steps and evaluations. On a machine
that others use, too, wall time is theirs as well: the processor's seconds are told beside it, and the least.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TINY = ("dataset.train_examples=32", "dataset.validation_examples=32", "training.epochs=1")
TARGET = 0.5  # seconds of a job beyond its training
GROWTH = 0.02  # of resident memory, after the first jobs
SETTLED = 5  # jobs in which what is made once is made


class Watch:
    """Reads both clocks and the memory at each job's start, and the clocks around its training."""

    def __init__(self) -> None:
        self.began = _clocks()
        self.starts: list[tuple[float, float]] = []
        self.training: list[tuple[float, float]] = []
        self.memory: list[int] = []

    def start(self) -> None:
        """A job starts, or the last has ended."""
        self.starts.append(_clocks())
        self.memory.append(_resident())
        self.training.append((0.0, 0.0))

    def watched(self, fit: Any, *given: Any, **named: Any) -> Iterator[Any]:
        """`fit`, its time counted."""
        epochs = fit(*given, **named)
        while True:
            before = _clocks()
            epoch = next(epochs, None)
            spent = (now - then for now, then in zip(_clocks(), before, strict=True))
            self.training[-1] = tuple(sum(pair) for pair in zip(self.training[-1], spent, strict=True))
            if epoch is None:
                return
            yield epoch


def main() -> None:
    """Run the sweep and print the figures."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    watch = Watch()
    from llama_experiments.cli import main as run
    from llama_experiments.sweeps.ledger import Ledger
    from llama_experiments.training import loop

    tell, fit = Ledger.tell, loop.fit

    def told(ledger: Ledger, entry: Any) -> None:
        if entry.state == "started":
            watch.start()
        tell(ledger, entry)
        if entry.state == "finished":
            ended[:] = [*ended, entry]
            if len(ended) == jobs:
                watch.start()

    ended: list[Any] = []
    Ledger.tell = told  # type: ignore[method-assign]
    loop.fit = lambda *given, **named: watch.watched(fit, *given, **named)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        status = run(["-m", *TINY, f"seed=range(0,{jobs})", f"output_dir={Path(folder) / 'outputs'}"])
    assert (status, len(ended)) == (0, jobs), f"status {status}, {len(ended)} jobs"
    report(watch, jobs)


def report(watch: Watch, jobs: int) -> None:
    """Print what was measured."""
    spent = np.diff(np.array(watch.starts), axis=0)  # [jobs, 2] wall, processor
    costs = spent - np.array(watch.training[:-1])
    before = np.array(watch.starts[0]) - watch.began
    print(f"{jobs} jobs; before the first: {before[0]:.2f} s, {before[1]:.2f} s of the processor")
    print("a job beyond its training, seconds    median    least   processor: median    least")
    quarter = max(1, (jobs - 1) // 4)
    for name, part in (
        ("the first job", costs[:1]),
        ("the first quarter", costs[1 : 1 + quarter]),
        ("the last quarter", costs[-quarter:]),
        ("all but the first", costs[1:]),
    ):
        wall, processor = part.T
        figures = (np.median(wall), wall.min(), np.median(processor), processor.min())
        print(f"{name:<34} {figures[0]:9.3f} {figures[1]:8.3f} {figures[2]:19.3f} {figures[3]:8.3f}")
    median = float(np.median(costs[1:, 1]))
    print(f"the target is {TARGET} s: {'met' if median < TARGET else 'missed'} in seconds of the processor")
    told = [1, SETTLED, 10, 25, 50, 100, 150, jobs]
    memory = [size / 2**20 for size in watch.memory]
    print("resident MiB after jobs: " + ", ".join(f"{n}: {memory[n]:.0f}" for n in sorted(set(told)) if n <= jobs))
    if jobs > SETTLED:
        growth = memory[-1] / memory[SETTLED] - 1
        print(f"growth after the first {SETTLED}: {growth:.1%}, of at most {GROWTH:.0%}: ", end="")
        print("met" if growth <= GROWTH else "missed")


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
