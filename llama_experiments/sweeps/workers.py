"""A job of a sweep in a process of its own."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.state import read_state
from llama_experiments.sweeps.home import SWEEP_VARIABLE

if TYPE_CHECKING:
    from llama_experiments.sweeps.ledger import Entry

PATIENCE = 10  # seconds that a job has to stop in
# A job is one run: what says how the sweep is launched is not its own.
NOT_A_JOBS = ("hydra.sweep", "hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.job.num")


class Worker:
    """`python -m llama_experiments OVERRIDES` in the job's folder, which also has what it prints."""

    def __init__(
        self, overrides: Sequence[str], sweep: Path, entry: Entry, slot: int, parallel: int, resumes: bool
    ) -> None:
        self.slot, self._folder = slot, sweep / entry.folder
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = [override for override in overrides if not override.lstrip("+~").startswith(NOT_A_JOBS)]
        path = str(self._folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
        given = (
            ["resume", str(self._folder.absolute())]
            if resumes
            else [*kept, f"hydra.run.dir='{path}'", *_config_dir(sys.argv)]
        )
        command = [sys.executable, "-m", "llama_experiments", *given]
        environment = os.environ | {SWEEP_VARIABLE: str(sweep.absolute())}
        # Several jobs that each take all cores would wait for each other.
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // parallel)))
        if devices := _devices(environment):
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        with (self._folder / "job.log").open("ab") as log:
            # A group of its own: a Ctrl-C on the terminal is for the sweep, which passes it on.
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> None:
        """Wait for its end, not for long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def outcome(self) -> tuple[float | None, str]:
        """Its objective, or why there is none."""
        from llama_experiments.runs.journal import read_journal

        status = self._process.returncode
        folder = RunFolder(self._folder)
        state = read_state(self._folder)
        if status == 0 and state is not None and state.state == "finished":
            losses = [record["eval_loss"] for record in read_journal(folder.epochs)]
            losses = [loss for loss in losses if loss is not None]
            return (float(losses[-1]) if losses else math.nan), ""
        if status < 0:
            return None, f"its process was ended by signal {signal.Signals(-status).name}"
        if state is not None and state.reason:
            return None, state.reason
        log = (self._folder / "job.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return None, log[-1] if log else f"exit status {status}"

    def stop(self) -> None:
        """Interrupt it, and end it when it does not listen."""
        self._signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _config_dir(command: Sequence[str]) -> list[str]:
    """The sweep's own folder of groups, from which its jobs choose as well."""
    words = [word.partition("=") for word in command]
    for place, (option, equals, value) in enumerate(words):
        if option in ("--config-dir", "-cd"):
            return ["--config-dir", value if equals else command[place + 1]]
    return []


def _devices(environment: dict[str, str]) -> list[str]:
    """The GPUs that jobs may be given, by the names CUDA knows them by."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
