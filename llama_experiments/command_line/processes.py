"""Several processes of one run: started from the plain command, and of one mind about what the first decides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import FrameType

from llama_experiments.command_line.replay import RUN_DIR
from llama_experiments.errors import UserError, tell
from llama_experiments.training.stopping import SIGNALS

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


def first_process_tells(decide: Callable[[], str]) -> str:
    """What the first process decides, in all of them, through the launcher's own store."""
    global _asked
    if started() == 1:
        return decide()
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60))
    key = f"llama_experiments/{_asked}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    _asked += 1
    if is_first():
        store.set(key, decide())
    return str(store.get(key).decode())


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
