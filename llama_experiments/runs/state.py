"""Whether a run goes on, ended well, or did not: `state.json`, and a lock that lives as long as its process."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Literal

from llama_experiments.errors import UserError
from llama_experiments.files import read_json, write_text
from llama_experiments.paths import show

Word = Literal["running", "finished", "failed", "stopped", "killed"]
PATIENCE = 0.5  # seconds: somebody who looks whether a folder is held has it for a moment


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """How a run is or ended. `killed` is never written: such a run says `running`, and nobody holds its lock."""

    state: Word
    reason: str = ""  # of a failure, a sentence
    seconds: float = 0.0  # from its start to this state
    started: int = 0  # milliseconds since 1970

    @property
    def told(self) -> str:
        """In a sentence, after "it"."""
        words = {"running": "is running", "finished": "ended well", "failed": "failed", "stopped": "was stopped"}
        return words.get(self.state, "was killed")


class Held:
    """A run's folder, held by this process: no other may write into it. The system lets go when the process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the folder.

        Raises:
            UserError: another process holds it.
        """
        self._file = (folder / ".lock").open("w")
        end = time.monotonic() + PATIENCE
        while not self._taken():
            if time.monotonic() > end:
                self._file.close()
                raise UserError(f"{show(folder)} is being written by another process; wait for it, or stop it")
            time.sleep(0.02)
        self._folder, self._started = folder, int(time.time() * 1000)
        self._began = time.monotonic()  # the clock of the day may be set while the run goes on

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def tell(self, word: Word, reason: str = "") -> None:
        """Write the state."""
        seconds = round(time.monotonic() - self._began, 3)
        state = State(state=word, reason=reason, seconds=seconds, started=self._started)
        write_text(self._folder / "state.json", json.dumps(dataclasses.asdict(state), indent=2) + "\n")

    def release(self) -> None:
        """Let go."""
        self._file.close()


def read_state(folder: Path) -> State | None:
    """A run's state; None where none was ever written.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / "state.json"
    if not file.exists():
        return None
    from llama_experiments.runs.written import as_written

    state = as_written(read_json(file), State, file)
    if state.state == "running" and not is_held(folder):
        state = as_written(read_json(file), State, file)  # it may have ended between the two looks
    if state.state == "running" and not is_held(folder):
        return dataclasses.replace(state, state="killed", reason="its process ended without a word")
    return state


def is_held(folder: Path) -> bool:
    """Whether a process writes into a folder now."""
    lock = folder / ".lock"
    if not lock.exists():
        return False
    handle = os.open(lock, os.O_RDONLY)
    try:
        # Shared: two that look at once must not take each other for the one that writes.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
