"""runs [FOLDER] [task=...] [technique=...] [state=...] [limit=20]: the runs, the newest first.

FOLDER is where runs are kept, by default outputs. A sweep's jobs are listed as runs. States are running, finished,
failed, stopped and killed.

    python -m llama_experiments runs
    python -m llama_experiments runs task=sentiment state=finished limit=50
"""

from __future__ import annotations

from pathlib import Path

from llama_experiments.errors import UserError, offer

FILTERS = ("task", "technique", "state")


def run(arguments: list[str]) -> int:
    """List them."""
    from llama_experiments.runs.listing import STATES, list_runs, table

    filters = dict(word.split("=", 1) for word in arguments if "=" in word)
    folders = [word for word in arguments if "=" not in word]
    limit = filters.pop("limit", "20")
    for key in filters:
        if key not in FILTERS:
            raise UserError(f"there is no filter '{key}'; {offer(key, [*FILTERS, 'limit'], 'filters')}")
    if not limit.isdecimal() or int(limit) < 1:
        raise UserError(f"limit: must be a number from 1, not '{limit}'")
    if (state := filters.get("state", "finished")) not in STATES:
        raise UserError(f"state: there is no state '{state}'; {offer(state, STATES, 'states')}")
    if len(folders) > 1:
        raise UserError("runs takes one folder, and after it filters written name=value")
    folder = Path(folders[0] if folders else "outputs")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: nothing was run here; give the folder in which runs are kept")
    found = [run for run in list_runs(folder) if all(getattr(run, key) == value for key, value in filters.items())]
    if not found:
        said = " ".join(f"{key}={value}" for key, value in filters.items())
        print(f"no run in {folder}" + (f" with {said}" if said else ""))
        return 0
    print("\n".join(table(found[: int(limit)])))
    if len(found) > int(limit):
        print(f"and {len(found) - int(limit):,} more; limit={len(found)} lists them all")
    return 0
