"""Several processes of one run: what the first decides, the others follow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from llama_experiments.command_line.replay import RUN_DIR


def started() -> int:
    """How many processes a launcher has started of this run."""
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
