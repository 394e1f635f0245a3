"""A process, measured from outside: wall time, CPU time, memory, and the CPU time of spans that it names itself."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
EVERY = 0.02  # seconds between two looks at a child's CPU time

Span = tuple[float, float, int]  # from, to (seconds since 1970), and 1 or -1: added, or taken off


@dataclasses.dataclass(frozen=True)
class Child:
    """A process that has ended well."""

    wall: float  # seconds
    cpu: float  # seconds, user and system, all threads
    memory: float  # MiB resident at most
    output: str
    samples: list[tuple[float, float]]  # time, CPU seconds until then

    def spans(self, spans: Sequence[Span]) -> tuple[float, float]:
        """Wall and CPU seconds of the spans together."""
        wall = sum(sign * (end - start) for start, end, sign in spans)
        cpu = sum(sign * (self._cpu_at(end) - self._cpu_at(start)) for start, end, sign in spans)
        return wall, cpu

    def _cpu_at(self, moment: float) -> float:
        """By straight lines between the looks."""
        import numpy as np

        times, used = zip(*self.samples, strict=True)
        return float(np.interp(moment, times, used))


def run_child(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Child:
    """Run a command in `folder` until it ends.

    Raises:
        RuntimeError: it failed; its last words are told.
    """
    log = folder / "log.txt"
    samples = [(time.time(), 0.0)]
    with log.open("w", encoding="utf-8") as errors, (folder / "output.txt").open("w", encoding="utf-8") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=output, stderr=errors)
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, samples, done), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        done.set()
        watcher.join()
    cpu = usage.ru_utime + usage.ru_stime
    samples.append((time.time(), cpu))
    process.returncode = os.waitstatus_to_exitcode(status)
    printed = (folder / "output.txt").read_text(encoding="utf-8")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {process.returncode}\n{printed[-2000:]}{_tail(log)}")
    return Child(wall, cpu, usage.ru_maxrss / 1024, printed, samples)


def _watch(pid: int, samples: list[tuple[float, float]], done: threading.Event) -> None:
    stat = Path(f"/proc/{pid}/stat")
    while not done.wait(EVERY):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            return
        samples.append((time.time(), (int(fields[11]) + int(fields[12])) / TICKS))


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]
