"""A sweep's jobs in MLflow: they write journals only, and one thread of the sweep's own process mirrors them all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING

from llama_experiments.errors import UserError
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirror import BY_ANOTHER, not_mirrored, wait_for
from llama_experiments.runs.mirrored import Mirroring, read_mirrored
from llama_experiments.runs.tracker import Tracker, prepare_environment, store_file

if TYPE_CHECKING:
    from llama_experiments.runs.follower import Follower

LOOK_EVERY = 1.0  # seconds between two looks into the journals
TRY_AGAIN = 30.0  # seconds after a failure
LONGEST_WAIT = 600.0  # seconds that a sweep's end waits for a tracker that does answer


class SweepMirror:
    """Mirrors the jobs that it is told of, while they run. A tracker that fails holds none up, and is tried again."""

    def __init__(self, sweep: Path, tracker: Tracker, output_dir: Path) -> None:
        self._sweep, self._tracker, self._uri = sweep, tracker, tracker.resolved_uri(output_dir)
        self._over: set[Path] = set()
        self._waiting: list[Path] = []  # jobs that are not in MLflow yet as they ended
        self._open: dict[Path, tuple[Follower, Mirroring]] = {}
        self._ends, self._stopped = Event(), Event()
        self._thread = Thread(target=self._follow, name="sweep mirror", daemon=True)
        self._closed_calls = 0
        self._failure: str | None = None

    def add(self, job: Path) -> None:
        """A job begins in this folder, or has ended there in an earlier run of the sweep."""
        self._waiting.append(job)

    def ended(self, job: Path) -> None:
        """It is over, whatever its folder says: one that goes on looks killed until it has begun."""
        self._over.add(job)

    @property
    def calls(self) -> int:
        """Of the tracker, so far."""
        return self._closed_calls + sum(follower.calls for follower, _ in list(self._open.values()))

    def __enter__(self) -> SweepMirror:
        prepare_environment()
        os.environ[BY_ANOTHER] = "1"
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.environ.pop(BY_ANOTHER, None)
        self._ends.set()
        # A file always answers, however long MLflow's import may take.
        patience = self._tracker.patience if store_file(self._uri) is None else LONGEST_WAIT
        if not wait_for(self._thread, lambda: self.calls, patience, LONGEST_WAIT):
            self._stopped.set()
            self._failure = self._failure or "TimeoutError"
        if self._failure is not None:
            print(not_mirrored(self._uri, self._failure, self._sweep, "all of the sweep"), flush=True)

    def _follow(self) -> None:
        """What the thread does: look at each job in turn, until all have ended."""
        again = 0.0
        while True:
            last = self._ends.is_set()
            if last or time.monotonic() >= again:
                try:
                    for job in list(self._waiting):
                        self._look(job)
                    self._failure = None
                except Exception as error:
                    self._failure = type(error).__name__
                    again = time.monotonic() + TRY_AGAIN
            if last:
                for job in list(self._open):
                    self._close(job)
                return
            self._ends.wait(LOOK_EVERY)

    def _look(self, job: Path) -> None:
        from llama_experiments.runs import described
        from llama_experiments.runs.follower import Follower

        told = read_mirrored(job)
        if told is None:  # it has not begun to write
            return
        folder = RunFolder(job)
        status = described.status(folder)  # before the journal is read: of a job that has ended that is whole
        if status == "KILLED" and job not in self._over and not self._ends.is_set():
            status = "RUNNING"
        if job not in self._open:
            if told.complete and status != "RUNNING":
                self._waiting.remove(job)
                return
            try:
                right = Mirroring(job)
            except UserError:  # somebody syncs it; it is looked at again
                return
            self._open[job] = Follower(folder, self._uri, told, self._stopped), right
            self._try(job, lambda follower: follower.open(status))
        if status == "RUNNING":
            self._try(job, lambda follower: follower.catch_up())
        else:
            self._try(job, lambda follower: follower.close(status))
            self._close(job)
            self._waiting.remove(job)

    def _try(self, job: Path, action: Callable[[Follower], None]) -> None:
        """After a failure a job is begun anew: what is there is seen, and not sent twice."""
        try:
            action(self._open[job][0])
        except Exception:
            self._close(job)
            raise

    def _close(self, job: Path) -> None:
        follower, right = self._open.pop(job)
        self._closed_calls += follower.calls
        right.release()
