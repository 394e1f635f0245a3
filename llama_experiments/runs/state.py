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
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UserError(f"{show(folder)} is being written by another process; wait for it, or stop it") from error
        self._folder, self._started = folder, int(time.time() * 1000)

    def tell(self, word: Word, reason: str = "") -> None:
        """Write the state."""
        seconds = time.time() - self._started / 1000
        state = State(state=word, reason=reason, seconds=round(seconds, 3), started=self._started)
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
        return dataclasses.replace(state, state="killed", reason="its process ended without a word")
    return state


def is_held(folder: Path) -> bool:
    """Whether a process writes into a folder now."""
    lock = folder / ".lock"
    if not lock.exists():
        return False
    handle = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
