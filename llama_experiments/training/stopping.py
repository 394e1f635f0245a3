"""Signals: the first asks a run to stop after its step, with a checkpoint; the second stops it at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

# What terminals, schedulers (SLURM, and submitit on it) and service managers send.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

SAME = 2.0  # seconds in which the same signal to one of several processes is the same request


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and did; it can be resumed."""

    def __init__(self, number: signal.Signals, *, in_order: bool) -> None:
        """`in_order` says that it comes between two steps, where the state of training is whole."""
        super().__init__(f"stopped by {number.name}")
        self.signal, self.in_order = number, in_order

    @property
    def status(self) -> int:
        """The exit status: 128 and the signal's number, as shells have it."""
        return 128 + self.signal


class Stopping:
    """A context in which a signal is noted, for `check` to raise between two steps; a second is raised at once."""

    def __init__(self) -> None:
        self.shared = False  # of several processes, which must all stop after the same step
        self._requested: signal.Signals | None = None
        self._agreed = False
        self._came = 0.0  # when
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether this process was asked to stop."""
        return self._requested is not None

    def vote(self) -> list[float]:
        """What of each process is added up for `agree`: whether it was asked, and by which signal."""
        return [float(self.requested), float(self._requested or 0)]

    def agree(self, asked: float, numbers: float) -> None:
        """So many processes were asked to stop, by signals of which this is the sum, and all know it now."""
        if asked > 0:
            mean = numbers / asked
            told = signal.Signals(int(mean)) if mean in SIGNALS else signal.SIGTERM  # of several kinds
            self._requested, self._agreed = self._requested or told, True

    def check(self) -> None:
        """Raises Stopped when a signal has come; of several processes, when all know it."""
        if self._requested is not None and (self._agreed or not self.shared):
            raise Stopped(self._requested, in_order=True)

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self._requested == number and "RANK" in os.environ and time.monotonic() - self._came < SAME:
            return  # schedulers signal all processes, and launchers pass on what they get
        again, self._requested = self.requested, signal.Signals(number)
        self._came = time.monotonic()
        if again:
            raise Stopped(self._requested, in_order=False)
        if os.environ.get("RANK", "0") != "0":  # of several processes one says so
            return
        # Not print: the signal may have come in the middle of one.
        os.write(2, f"\n{self._requested.name}: stopping after this step; once more stops at once\n".encode())

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._come)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
