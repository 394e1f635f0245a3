"""With this folder in PYTHONPATH a process of a run gets a signal in the middle of a step, as INTERRUPT says.

INTERRUPT=RANK:STEP:SIGNAL[:parent]; with `parent` the signal goes to the process that has started the others.
MISTAKE for a signal is a mistake that this process alone makes.
"""

import os
import signal
import time
from typing import Any

rank, step, name, *parent = os.environ.get("INTERRUPT", "none:0:SIGKILL").split(":")
if os.environ.get("RANK", "0") == rank and (not parent or "RANK" in os.environ):
    from llama_experiments.training.step import Stepper

    whole = Stepper.step

    def interrupted(self: Stepper, indices: Any, epoch: int, number: int, seed: int) -> Any:
        if number + 1 == int(step) and name == "MISTAKE":
            from llama_experiments.errors import UserError

            raise UserError(f"training.batch_size: a mistake of process {int(rank) + 1}")
        if number + 1 == int(step):
            os.kill(os.getppid() if parent else os.getpid(), signal.Signals[name])
            time.sleep(0.5 if parent else 0)  # until it has been passed on
        return whole(self, indices, epoch, number, seed)

    Stepper.step = interrupted  # type: ignore[method-assign]
