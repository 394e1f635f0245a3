"""A sweep's jobs, run: each that the ledger has no result of."""

from __future__ import annotations

import dataclasses
import gc
import os
import shutil
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from llama_experiments.errors import UserError
from llama_experiments.files import write_text
from llama_experiments.garbage import keep_what_lives
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.state import read_state
from llama_experiments.runs.tracker import Tracker
from llama_experiments.secrets import hidden
from llama_experiments.sweeps.ledger import Entry, JobState, Ledger
from llama_experiments.sweeps.mirror import SweepMirror
from llama_experiments.sweeps.planned import Planned, planned_jobs
from llama_experiments.sweeps.progress import Progress
from llama_experiments.sweeps.workers import Worker


class JobFailed(UserError):
    """A job of a sweep did not end well, which has been told."""

    told = True


class Returned(JobReturn):
    """What a job's end is to Hydra, which would print a line of its own for a failure that has been told."""

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """The objective; raises what ended a job that failed."""
        if self.status is JobStatus.FAILED:
            raise self._return_value
        return self._return_value


def launch_jobs(
    context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Run the jobs that are missing; each one's return, in their order.

    Args:
        first: the number of the first of them: sweepers may come with several lists.

    Raises:
        ConfigError: two jobs are the same, or one's config breaks a rule; then none has started.
    """
    setup_globals()
    sweep = Path(str(config.hydra.sweep.dir))
    ledger = Ledger(sweep)
    jobs = planned_jobs(context, config, job_overrides, ledger)
    settings = jobs[0].tree["sweep"] if jobs else {}
    if kept := sum(job.done for job in jobs):
        print(f"{kept} of {len(jobs)} jobs have their result already, and are not run again", flush=True)
    progress = Progress(jobs)
    returns: dict[str, JobReturn] = {job.entry.job: _return(job) for job in jobs if job.done}
    with _mirror(jobs, sweep) as mirror:
        if settings.get("isolate") or settings.get("parallel", 1) > 1 or any(map(_in_several, jobs)):
            ended = _in_processes(jobs, sweep, ledger, progress, mirror, settings["parallel"])
        else:
            ended = _in_this_process(jobs, sweep, ledger, progress, mirror, context, task_function)
        for job, outcome in ended:
            returns[job.entry.job] = _return(dataclasses.replace(job, entry=outcome))
    return [returns[job.entry.job] for job in jobs]


def _mirror(jobs: list[Planned], sweep: Path) -> SweepMirror:
    """What brings the jobs to MLflow; those that had ended before may not be there."""
    tree = jobs[0].tree if jobs else {}
    settings = {key: value for key, value in tree.get("tracker", {}).items() if key != "_target_"}
    mirror = SweepMirror(sweep, Tracker(**settings), Path(str(tree.get("output_dir", "outputs"))))
    for job in jobs:
        if job.done:
            mirror.add(sweep / job.entry.folder)
            mirror.ended(sweep / job.entry.folder)
    return mirror


def _in_this_process(
    jobs: list[Planned],
    sweep: Path,
    ledger: Ledger,
    progress: Progress,
    mirror: SweepMirror,
    context: HydraContext,
    task_function: TaskFunction,
) -> Iterator[tuple[Planned, Entry]]:
    """One after another here, where caches in memory are shared."""
    hydra_state = Singleton.get_state()
    for job in jobs:
        if job.done:
            continue
        _make_room(job, sweep, ledger)
        progress.started(job)
        mirror.add(sweep / job.entry.folder)
        try:
            returned = run_job(
                hydra_context=context,
                task_function=task_function,
                config=job.config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except KeyboardInterrupt:
            _ended(job, ledger, progress, "stopped", reason="interrupted")
            raise
        finally:
            Singleton.set_state(hydra_state)
            mirror.ended(sweep / job.entry.folder)
            _take_away()
        if returned.status is JobStatus.COMPLETED:
            yield job, _ended(job, ledger, progress, "finished", objective=float(returned.return_value))
        else:
            yield (
                job,
                _ended(
                    job, ledger, progress, "failed", reason=_reason(returned._return_value, sweep / job.entry.folder)
                ),
            )


def _take_away() -> None:
    """Free what a job left in cycles, its model among it, before the next fills the memory.

    What outlives the first job, above all what it imported, is never looked at again: that took longer than a job.
    """
    gc.collect()
    keep_what_lives("first job")


def _in_processes(
    jobs: list[Planned], sweep: Path, ledger: Ledger, progress: Progress, mirror: SweepMirror, parallel: int
) -> Iterator[tuple[Planned, Entry]]:
    """Each in a process of its own, so many at once: a crash, a leak or a full memory ends one job."""
    waiting = [job for job in jobs if not job.done]
    running: list[tuple[Planned, Worker]] = []
    slots = list(range(parallel))
    try:
        while waiting or running:
            while waiting and slots:
                job = waiting.pop(0)
                resumes = _make_room(job, sweep, ledger)
                progress.started(job)
                mirror.add(sweep / job.entry.folder)
                running.append((job, Worker(job.overrides, sweep, job.entry, slots.pop(0), parallel, resumes)))
            for job, worker in list(running):
                if not worker.ended():
                    continue
                running.remove((job, worker))
                mirror.ended(sweep / job.entry.folder)
                slots.append(worker.slot)
                objective, reason = worker.outcome()
                state: JobState = "failed" if objective is None else "finished"
                yield job, _ended(job, ledger, progress, state, objective=objective, reason=reason)
            if running:
                running[0][1].wait(0.1)
    except BaseException:
        for job, worker in running:
            worker.stop()
            _ended(job, ledger, progress, "stopped", reason="interrupted")
        raise


def _in_several(job: Planned) -> bool:
    return (job.tree.get("training", {}).get("processes") or 1) > 1


def _make_room(job: Planned, sweep: Path, ledger: Ledger) -> bool:
    """Whether the job goes on with an attempt that was stopped or killed; one that failed goes below `earlier/`."""
    folder = RunFolder(sweep / job.entry.folder)
    state = read_state(folder.path) if folder.epochs.exists() else None
    resumes = state is not None and state.state in ("stopped", "killed")
    if folder.epochs.exists() and not resumes:
        attempts = sweep / "earlier"
        attempts.mkdir(exist_ok=True)
        number = sum(1 for other in attempts.iterdir() if other.name.startswith(f"{job.entry.folder}."))
        os.replace(folder.path, attempts / f"{job.entry.folder}.{number + 1}")
    elif folder.path.exists() and not resumes:
        shutil.rmtree(folder.path)  # it had not got beyond Hydra's own files
    ledger.tell(dataclasses.replace(job.entry, state="started", objective=None, reason=""))
    return resumes


def _ended(
    job: Planned,
    ledger: Ledger,
    progress: Progress,
    state: JobState,
    *,
    objective: float | None = None,
    reason: str = "",
) -> Entry:
    entry = dataclasses.replace(job.entry, state=state, objective=objective, reason=reason)
    ledger.tell(entry)
    progress.ended(entry)
    return entry


def _return(job: Planned) -> JobReturn:
    """What a job's end is to Hydra and to its sweepers."""
    entry = job.entry
    done = entry.state == "finished"
    value = entry.objective if done else JobFailed(f"{entry.name or entry.folder}: {entry.reason}")
    return Returned(
        overrides=job.overrides,
        cfg=job.config,
        hydra_cfg=job.config,
        working_dir=os.getcwd(),
        task_name="llama_experiments",
        status=JobStatus.COMPLETED if done else JobStatus.FAILED,
        _return_value=value,
    )


def _reason(error: Any, folder: Path) -> str:
    """Why a job failed, and, where it is not the user's mistake, where to read more."""
    if isinstance(error, UserError):
        return hidden(str(error))
    file = RunFolder(folder).traceback
    if not file.exists():  # it failed before it had a record
        write_text(file, hidden("".join(traceback.format_exception(error))))
    return hidden(f"{type(error).__name__}: {error} (see {show(file)})")
