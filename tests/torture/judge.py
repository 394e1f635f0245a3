"""What a command may do with a bad input, and what not."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.torture.mutations import Case

MISTAKE, DIFFERENT = 2, 1  # exit statuses
UNFINISHED = re.compile(
    r"(^|/)\.(?!hydra|lock)[^/]*\.[^/]*$|(^|/)\.(tokens|mlflow|writable)-"
)  # names of `files.replaced`


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int | None  # None: it was ended at the time limit
    said: str
    folder: Path
    new: list[str]  # files and folders that it made
    seconds: float


def verdict(case: Case, outcome: Outcome) -> str:
    """What is wrong with an outcome, or nothing."""
    if outcome.status is None:
        return "it hangs"
    if "Traceback (most recent call last)" in outcome.said:
        return f"a traceback: {outcome.said.strip().splitlines()[-1][:200]}"
    if outcome.status < 0:
        return f"it died by signal {-outcome.status}"
    if outcome.status == 0 and case.expected == "bad":
        return "it is accepted"
    if outcome.status != 0 and case.expected == "good":
        return f"it is refused: {_last(outcome)}"
    left = [name for name in outcome.new if UNFINISHED.search(name) and not name.endswith((".lock", ".incomplete"))]
    if left:
        return f"it leaves {left[0]}"
    return _refused(case, outcome) if outcome.status else _accepted(outcome)


def _refused(case: Case, outcome: Outcome) -> str:
    said = outcome.said.strip()
    if outcome.status not in (MISTAKE, DIFFERENT):
        return f"exit status {outcome.status}"
    if not said:
        return "it says nothing"
    if outcome.status == MISTAKE and case.hints and not any(hint in said for hint in case.hints):
        return f"it does not say where: {_last(outcome)}"
    for name in outcome.new:
        # A run that had begun tells how it ended; one that had not leaves nothing.
        if "mlflow-artifacts" in name:
            continue
        if name.endswith("epochs.jsonl") and _state(outcome.folder / name) not in ("failed", "finished"):
            return f"it leaves half a run: {name}"
        if name.endswith(".hydra") and not (outcome.folder / name).parent.joinpath("epochs.jsonl").exists():
            return f"it leaves {name} of a run that never began"
    return ""


def _accepted(outcome: Outcome) -> str:
    for name in outcome.new:
        copied = "mlflow-artifacts" in name
        if name.endswith("epochs.jsonl") and not copied and _state(outcome.folder / name) != "finished":
            return f"it ends well, with an unfinished run: {name}"
    return ""


def _state(journal: Path) -> str:
    file = journal.parent / "state.json"
    return str(json.loads(file.read_text())["state"]) if file.exists() else "none"


def _last(outcome: Outcome) -> str:
    return next(iter(reversed(outcome.said.strip().splitlines())), "")[:200]
