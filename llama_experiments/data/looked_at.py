"""A run's rows with the report on them: read, bound to the task and checked once for all jobs of a process."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from llama_experiments.sharing import files_key, settings_key, shared

if TYPE_CHECKING:
    from llama_experiments.data.hygiene import Hygiene
    from llama_experiments.data.rows import Rows
    from llama_experiments.data.sources import Dataset
    from llama_experiments.tasks.base import Task


def look_at_rows(task: Task, dataset: Dataset) -> tuple[Task, dict[str, Rows], Hygiene]:
    """The task as the rows make it, the rows it goes on with, and what was found in them.

    What is on the Hub is asked for once: the jobs of a sweep are to see the same rows.

    Raises:
        UserError: the rows cannot be read, used or gone on with.
    """
    files = {part: files_key(dataset.files(part)) for part in dataset.parts}
    key = (settings_key(task), settings_key(dataset), tuple(files.items()))
    bound, rows, hygiene = shared("rows", key, lambda: _look(task, dataset))
    return bound, dict(rows), copy.deepcopy(hygiene)  # lengths are added to the report


def _look(task: Task, dataset: Dataset) -> tuple[Task, dict[str, Rows], Hygiene]:
    from llama_experiments.data.hygiene import check_rows
    from llama_experiments.data.rows import load_rows

    rows = load_rows(dataset, task)
    task = task.bind(rows, dataset.labels)
    rows, hygiene = check_rows({part: task.prepared(rows[part]) for part in rows}, task, dataset)
    return task, rows, hygiene
