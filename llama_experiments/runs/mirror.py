"""MLflow: a mirror of the journal, kept by a thread of its own. It may fail; the run goes on, and `sync` mends it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirrored import Mirrored, Mirroring, new_uid, read_mirrored
from llama_experiments.runs.tracker import Tracker, prepare_environment, store_file, without_password

if TYPE_CHECKING:
    from llama_experiments.runs.follower import Follower

BY_ANOTHER = "LLAMA_EXPERIMENTS_MIRRORED"  # set where another process or thread mirrors this one's runs: a sweep's
OPEN_AFTER = 20.0  # seconds of a run, or at its end: to import MLflow takes seconds that short runs do not have
LOOK_EVERY = 5.0  # seconds between two looks into the journal, beside those that it asks for
LONGEST_WAIT = 60.0  # seconds that a run's end waits for a tracker that does answer
LONGEST_STOP = 5.0  # of a run that is to stop


class Mirror:
    """A run's mirror. After a failure it stays silent, and says once how to bring it up to date.

    Nothing that the tracker does holds a run up but at its end, where a tracker that hangs is waited for
    `tracker.patience` seconds.
    """

    def __init__(self, tracker: Tracker, output_dir: Path, report_failure: Callable[[str], None]) -> None:
        self._tracker, self._output_dir, self._report_failure = tracker, output_dir, report_failure
        self._follower: Follower | None = None
        self._thread: Thread | None = None
        self._changed, self._stopped, self._ended = Event(), Event(), Event()
        self._status: str | None = None  # once the run has ended
        self._folder: Path | None = None
        self._told = False
        self.failure: str | None = None

    @property
    def run_id(self) -> str | None:
        """In MLflow; None until the tracker has given one."""
        return self._follower.mirrored.run_id if self._follower else None

    @property
    def opened_by(self) -> str:
        """What shows a person the runs: a command, or a server's address."""
        return self._tracker.opened_by(self._output_dir)

    def start(self, folder: RunFolder) -> None:
        """Begin to mirror a run's folder, or go on: then with the same run in MLflow, and no point twice."""
        from llama_experiments.runs.follower import Follower

        self._folder = folder.path
        uri = self._tracker.resolved_uri(self._output_dir)
        try:
            told = link(folder, self._tracker, uri)
            if os.environ.get(BY_ANOTHER):
                return
            prepare_environment()
            right = Mirroring(folder.path)
        except Exception as error:
            self._fail(error)
            self._tell()
            return
        self._follower = Follower(folder, uri, told, self._stopped)
        self._thread = Thread(target=self._follow, args=(self._follower, right), name="mirror", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """The journal has something that people wait for."""
        self._changed.set()
        self._tell()

    def finish(self, status: str) -> None:
        """The run has ended: FINISHED, FAILED or KILLED. Waits until the mirror says so, too, but not for long."""
        self._status = status
        self._ended.set()
        self._changed.set()
        if self._thread is not None and self._follower is not None:
            follower, patience, longest = self._follower, self._tracker.patience, LONGEST_WAIT
            if store_file(self._tracker.resolved_uri(self._output_dir)) is not None:
                patience = longest  # a file always answers, but to make a new one takes long
            if status == "KILLED":
                patience, longest = min(patience, LONGEST_STOP), LONGEST_STOP
            if not wait_for(self._thread, lambda: follower.calls, patience, longest):
                self._stopped.set()
                self._fail(TimeoutError())
        self._tell()

    def _follow(self, follower: Follower, right: Mirroring) -> None:
        """What the thread does."""
        from llama_experiments.runs.follower import Abandoned

        try:
            # A server is asked at once: it may be away, and how long its answer is waited for has a limit.
            if store_file(self._tracker.resolved_uri(self._output_dir)) is not None:
                self._ended.wait(OPEN_AFTER)
            follower.open()
            while self._status is None:
                follower.catch_up()
                self._changed.wait(LOOK_EVERY)
                self._changed.clear()
            follower.close(self._status)
        except Abandoned:
            self._fail(TimeoutError())
        except Exception as error:
            self._fail(error)
        finally:
            right.release()

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or type(error).__name__

    def _tell(self) -> None:
        """Say a failure, once: from the run's own thread, which alone writes on the terminal."""
        if self.failure is not None and not self._told:
            self._told = True
            assert self._folder is not None
            uri = self._tracker.resolved_uri(self._output_dir)
            self._report_failure(not_mirrored(uri, self.failure, self._folder, "this run"))


def link(folder: RunFolder, tracker: Tracker, uri: str) -> Mirrored:
    """A folder's `tracker.json`, written where there is none or where the store is another."""
    shown = without_password(uri)
    told = read_mirrored(folder.path)
    if told is None:
        told = Mirrored(new_uid(), shown, tracker.experiment, tracker.every_steps, tracker.log_model)
    told = told.moved(shown, tracker.experiment)
    told.log_model = tracker.log_model
    told.write(folder.path)
    return told


def not_mirrored(uri: str, failure: str, folder: Path, what: str) -> str:
    """The sentence about a tracker that failed."""
    command = shlex.join(["python", "-m", "llama_experiments", "sync", show(folder)])
    return (
        f"the tracker at {without_password(uri)} does not answer ({failure}): {what} is not mirrored to MLflow; "
        f"its journal has everything, and `{command}` brings it there later"
    )


def wait_for(thread: Thread, calls: Callable[[], int], patience: float, longest: float) -> bool:
    """Wait for a thread as long as its tracker answers within `patience`; whether it has ended.

    Args:
        calls: how many the thread has made of the tracker.
    """
    end = time.monotonic() + longest
    while thread.is_alive() and time.monotonic() < end:
        before = calls()
        thread.join(min(patience, end - time.monotonic()))
        if thread.is_alive() and calls() == before:
            return False
    return not thread.is_alive()
