"""A sweep on the terminal: jobs done, running, failed, the best so far, the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_experiments.sweeps.ledger import Entry
    from llama_experiments.sweeps.planned import Planned


class Progress:
    """Counts a sweep's jobs as they start and end, and says so in a line each."""

    def __init__(self, jobs: Sequence[Planned]) -> None:
        self.total = len(jobs)
        self.finished = sum(job.done and job.entry.state == "finished" for job in jobs)
        self.failed = sum(job.done and job.entry.state == "failed" for job in jobs)
        self.running = 0
        self._to_run = sum(not job.done for job in jobs)
        self._ran = 0
        self._began = time.perf_counter()
        ended = [job.entry for job in jobs if job.done and job.entry.objective is not None]
        self.best: Entry | None = min(ended, key=lambda entry: entry.objective or 0.0, default=None)

    def started(self, job: Planned) -> None:
        """A job begins."""
        self.running += 1
        number = self.finished + self.failed + self.running
        self._say(f"\n--- job {number} of {self.total}: {job.entry.name or job.entry.folder}")

    def ended(self, entry: Entry) -> None:
        """A job ended, well or not."""
        self.running -= 1
        self._ran += 1
        if entry.state == "finished" and entry.objective is not None:
            self.finished += 1
            if self.best is None or self.best.objective is None or entry.objective < self.best.objective:
                self.best = entry
        else:
            self.failed += 1
            print(f"job {entry.name or entry.folder} {entry.state}: {entry.reason}", file=sys.stderr, flush=True)
        self._say(f"--- {self.line()}")

    def line(self) -> str:
        """Where the sweep is."""
        told = [f"{self.finished} of {self.total} jobs done"]
        told += [f"{self.running} running"] if self.running else []
        told += [f"{self.failed} failed"] if self.failed else []
        if self.best is not None:
            told.append(f"best {self.best.objective:.4f} ({self.best.name or self.best.folder})")
        left = self._to_run - self._ran
        if left and self._ran:
            told.append(f"about {_duration((time.perf_counter() - self._began) / self._ran * left)} left")
        return ", ".join(told)

    def _say(self, text: str) -> None:
        print(text, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
