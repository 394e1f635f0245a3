"""The ledger of a sweep: every job's state by a hash of its composed config, appended and synced.

Run again, a sweep does what is missing or failed and nothing else; widened by a value, it runs one job more.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Literal

from llama_experiments.runs.journal import read_journal
from llama_experiments.runs.written import as_written

JobState = Literal["started", "finished", "failed", "stopped"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A job's newest state."""

    job: str  # the hash of its config
    number: int
    name: str  # what tells it from the others: learning_rate=2e-05
    folder: str  # below the sweep's
    state: JobState
    objective: float | None = None  # of one that finished
    reason: str = ""  # of one that did not
    time: int = 0  # milliseconds since 1970


class Ledger:
    """`jobs.jsonl` in a sweep's folder. One process writes it: the one that holds the folder."""

    def __init__(self, sweep: Path) -> None:
        self._file = sweep / "jobs.jsonl"
        self._cut_torn_line()
        self.entries: dict[str, Entry] = {}  # by job, in the order in which they were first seen
        if self._file.exists():
            for record in read_journal(self._file):
                entry = as_written(record, Entry, self._file)
                self.entries[entry.job] = entry

    def next_number(self) -> int:
        """The first number that no job has had."""
        return 1 + max((entry.number for entry in self.entries.values()), default=-1)

    def tell(self, entry: Entry) -> None:
        """Append a state."""
        entry = dataclasses.replace(entry, time=int(time.time() * 1000))
        self.entries[entry.job] = entry
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _cut_torn_line(self) -> None:
        """A process that was killed while it wrote leaves half a line, to which nothing may be appended."""
        if not self._file.exists():
            return
        text = self._file.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            with self._file.open("r+b") as file:
                file.truncate(whole)
