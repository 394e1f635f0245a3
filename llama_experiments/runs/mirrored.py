"""`tracker.json`: which run of which store a folder is mirrored to, and what of it is there already."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import uuid
from pathlib import Path

from llama_experiments.errors import UserError
from llama_experiments.files import write_text
from llama_experiments.paths import show

FILE = "tracker.json"


@dataclasses.dataclass
class Mirrored:
    """A folder's run in MLflow. The uid is ours: by it the run is found in any store, whatever became of its id."""

    run_uid: str
    uri: str  # of the store, without what nobody must see
    experiment: str
    every_steps: int = 10
    log_model: bool = False
    experiment_id: str | None = None
    run_id: str | None = None
    model_id: str | None = None
    artifacts: dict[str, str] = dataclasses.field(default_factory=dict)  # what is there: name -> hash
    complete: bool = False  # the run has ended, and everything is there

    def moved(self, uri: str, experiment: str) -> Mirrored:
        """The same folder, mirrored to a store or an experiment that may be another."""
        if (self.uri, self.experiment) == (uri, experiment):
            return self
        return Mirrored(self.run_uid, uri, experiment, self.every_steps, self.log_model)

    def write(self, folder: Path) -> None:
        """Leave it in the run's folder."""
        write_text(folder / FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def read_mirrored(folder: Path) -> Mirrored | None:
    """What `tracker.json` says; None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        return Mirrored(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{show(file)} is damaged; remove it, and `sync` finds the run in MLflow anew") from error


def new_uid() -> str:
    """A run's name that no other has."""
    return uuid.uuid4().hex


class Mirroring:
    """The right to mirror a folder: one process, one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Raises:
            UserError: another has it.
        """
        self._handle = os.open(folder / ".tracker.lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise UserError(
                f"{show(folder)} is being mirrored by another process; wait until it has ended"
            ) from error

    def release(self) -> None:
        """Let go."""
        os.close(self._handle)
