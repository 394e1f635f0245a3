"""Several processes of one run: started from the plain command, and of one mind about what the first decides."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING

from llama_experiments.command_line.replay import RUN_DIR
from llama_experiments.errors import UserError, tell
from llama_experiments.training.stopping import SIGNALS

if TYPE_CHECKING:
    from torch.distributed import TCPStore

WORD = f"llama_experiments/word/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
AHEAD = 2.0  # seconds that the first has to tell a mistake in before another ends of it
GRACE = 20.0  # seconds that the others have to end in when one process has died


def started() -> int:
    """How many processes a launcher, or we, have started of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def rank_overrides(given: Sequence[str]) -> list[str]:
    """All processes share the first one's folder, and only the first writes Hydra's files."""
    if started() == 1:
        return []
    stamp = first_process_tells(lambda: datetime.now().strftime("%Y-%m-%d/%H-%M-%S"))
    overrides = [f"hydra.run.dir={RUN_DIR.replace('${now:%Y-%m-%d}/${now:%H-%M-%S}', stamp)}"]
    if any(override.startswith("hydra.run.dir=") for override in given):
        overrides = []
    if not is_first():
        overrides += ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    return overrides


_asked = 0  # questions so far: all processes ask the same ones in the same order
PATIENCE = timedelta(seconds=60)  # until the others are there


def first_process_tells(decide: Callable[[], str]) -> str:
    """What the first process decides, in all of them, through the launcher's own store."""
    global _asked
    if started() == 1:
        return decide()
    key = f"llama_experiments/{_asked}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    _asked += 1
    decided = decide() if is_first() else None
    try:
        store = _store()
        if decided is not None:
            store.set(key, decided)
        return str(store.get(key).decode())
    except (RuntimeError, KeyError) as error:  # torch's errors of a store are RuntimeErrors
        raise UserError(
            f"the {started()} processes of this run do not find each other at MASTER_ADDR="
            f"{os.environ.get('MASTER_ADDR', '')}, MASTER_PORT={os.environ.get('MASTER_PORT', '')}; start them with "
            "training.processes, torchrun, or as launch/slurm.sbatch does"
        ) from error


@functools.cache
def _store() -> TCPStore:
    """The launcher's; where it has none (srun, mpirun) the first process keeps it, and torch finds it there later."""
    from torch.distributed import TCPStore

    keeps = is_first() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=keeps, timeout=PATIENCE, wait_for_workers=False, multi_tenant=keeps)


def leave_word(sentence: str) -> None:
    """Before another process than the first ends of a mistake: what it was, for the first to tell.

    Most often the first makes the same mistake, and a launcher that misses one process ends the others.
    """
    with contextlib.suppress(RuntimeError, KeyError):  # the store is gone where all are
        if _store.cache_info().currsize:  # else the first has not come further either
            _store().set(WORD, sentence)
    time.sleep(AHEAD)


def word_left() -> str | None:
    """What another process has left, or None."""
    with contextlib.suppress(RuntimeError, KeyError):
        if _store().check([WORD]):
            return str(_store().get(WORD).decode())
    return None


def run_in_processes(processes: int, arguments: Sequence[str]) -> int:
    """Run the command line in so many processes of this machine; returns the exit status.

    The first one's terminal is ours. Signals go to all; when one process dies the others are ended.
    """
    from torch.distributed import TCPStore

    # Ours, so that no other program can take its port in between; the processes find it where torchrun's would be.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    shared = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
    }
    command = [sys.executable, "-m", "llama_experiments", *arguments]
    running = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            # A group of its own: a Ctrl-C on the terminal reaches it through us, once.
            start_new_session=True,
        )
        for rank in range(processes)
    ]
    with _passing_signals_to(running):
        return _wait_for_all(running)


def _wait_for_all(running: list[subprocess.Popen[bytes]]) -> int:
    """Wait for all; the first that fails gives the others a while."""
    deadline = None
    while (statuses := [process.poll() for process in running]) and None in statuses:
        # Of those that were asked to stop none is hurried: the first may be writing a checkpoint.
        failed = [status for status in statuses if status not in (None, 0) and not _is_stopped(status)]
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            for process in running:
                _signal(process, signal.SIGKILL)
        time.sleep(0.05)
    ended = [process.returncode for process in running]
    died = next((rank for rank, status in enumerate(ended) if status < 0 and status != -signal.SIGKILL), None)
    died = next((rank for rank, status in enumerate(ended) if status < 0), None) if died is None else died
    if died is not None and deadline is not None:
        name = signal.Signals(-ended[died]).name
        tell(UserError(f"process {died + 1} of {len(running)} was ended by {name}, and the run with it"))
    first = next((status for status in ended if status > 0), None)
    return first if first is not None else int(any(ended))


def _is_stopped(status: int | None) -> bool:
    return status in {128 + number for number in SIGNALS}


@contextmanager
def _passing_signals_to(running: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in running:
            _signal(process, number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in running:
            _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)
