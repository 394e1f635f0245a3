"""The test rows of a sweep: seen once, by the job that the validation rows have chosen."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from llama_experiments.sweeps.base import Job


def chosen(jobs: Sequence[Job]) -> Job | None:
    """The job with the lowest evaluation loss."""
    known = [job for job in jobs if isinstance(job.result.eval_loss, float)]
    return min(known, key=lambda job: float(job.result.eval_loss), default=None)


def on_test_rows(job: Job) -> list[str]:
    """Evaluate a sweep's best job on `dataset.test`, where there is one, as a run of its own would have; in words."""
    if job.config.get("dataset", {}).get("test") is None:
        return []
    try:
        told = _tested(job)
    except UserError as error:
        return [f"its test rows were not looked at: {error}"]
    metric = told["metrics"].get(job.result.metric)
    shown = "" if metric is None else f", {job.result.metric} {float(metric):.4f}"
    return [
        f"on the test rows, which chose nothing and were looked at once: loss {float(told['test_loss']):.4f}{shown}"
    ]


def _tested(job: Job) -> dict[str, Any]:
    if job.folder.test.exists():  # it had won before the sweep was widened
        told: dict[str, Any] = json.loads(job.folder.test.read_text(encoding="utf-8"))
        return told
    from llama_experiments.runs.evaluations import evaluate_again
    from llama_experiments.runs.journal import write_test
    from llama_experiments.runs.predictions import write_predictions
    from llama_experiments.runs.saved import SavedRun
    from llama_experiments.runs.sync import sync_run
    from llama_experiments.runs.trained import Replayed

    run = SavedRun(job.folder)
    later, trained, examples = evaluate_again(Replayed.of(run), "test")
    write_predictions(job.folder.test_predictions, trained.task, later.evaluation, examples)
    told = write_test(job.folder, job.result.epoch, later.evaluation)
    with contextlib.suppress(UserError):  # the tracker does not answer, which the sweep has told
        sync_run(run)
    return told
