"""A job's plan: what there is to do, what it needs, whether it fits; and how that is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_experiments.planning.available import Available, gigabytes
from llama_experiments.planning.check import parts, refusal, share_of
from llama_experiments.planning.memory import Memory, estimate_memory
from llama_experiments.planning.shape import model_shape
from llama_experiments.planning.skeleton import stand_in_task
from llama_experiments.planning.work import Lengths, asked_task, at_most, is_cheap, read_work

if TYPE_CHECKING:
    from llama_experiments.errors import Mistake
    from llama_experiments.experiment import Experiment
    from llama_experiments.planning.jobs import Job


@dataclasses.dataclass(frozen=True)
class Planned:
    """A job, planned."""

    job: Job
    memory: Memory
    lengths: Lengths
    examples: dict[str, int] | None  # of each part; None where the rows were not read
    steps: int | None  # None where the rows were not read
    seconds: float | None  # None where nothing was timed
    refused: Mistake | None

    def record(self) -> dict[str, Any]:
        """For programs."""
        memory = dataclasses.asdict(self.memory) | {"growth": self.memory.growth, "peak": self.memory.peak}
        return {
            "name": self.job.name,
            "memory": memory,
            "lengths": {"train": self.lengths.train, "evaluation": self.lengths.evaluation},
            "examples": self.examples,
            "steps": self.steps,
            "seconds": self.seconds,
            "refused": None if self.refused is None else str(self.refused),
        }


def plan_job(job: Job, available: Available, *, read_rows: bool, timed: bool) -> Planned:
    """Plan one job; nothing of it is started but, where it is to be timed and fits, some steps.

    Raises:
        UserError: its model's config.json cannot be reached, or its data not be read.
    """
    experiment = job.experiment
    shape = model_shape(experiment.model)
    task, lengths, work = asked_task(experiment), at_most(experiment), None
    if read_rows or timed or is_cheap(experiment):
        work = read_work(experiment)
        lengths = work.lengths
        task = work.task if experiment.technique.trains else task
    task = stand_in_task(task, experiment.dataset.labels)
    here = share_of(available, experiment)
    memory = estimate_memory(experiment, shape, task, lengths, here.kind)
    refused = None
    if experiment.training.check_memory and memory.peak > here.size:
        refused = refusal(experiment, shape, task, lengths, memory, here)
        refused = dataclasses.replace(refused, path=job.name)
    seconds = None
    if timed and work is not None and memory.peak <= here.size:
        from llama_experiments.planning.time import estimate_seconds

        seconds = estimate_seconds(experiment, shape, work)
    return Planned(
        job,
        memory,
        lengths,
        None if work is None else {part: len(examples) for part, examples in work.examples.items()},
        None if work is None else steps_of(experiment, len(work.examples["train"])),
        seconds,
        refused,
    )


def steps_of(experiment: Experiment, examples: int) -> int:
    """Optimizer steps of a run over so many examples."""
    return (
        experiment.training.epochs * experiment.training.steps_per_epoch(examples)
        if experiment.technique.trains
        else 0
    )


def lines(planned: Sequence[Planned], available: Available) -> list[str]:
    """The plan as people read it: a line a job, and what it all comes to."""
    from llama_experiments.sweeps.ladder import aligned

    header = ["job", "steps", "longest rows", "trained", "memory", "of that"]
    times = any(job.seconds is not None for job in planned)
    rows = [header + (["time"] if times else [])]
    for job in planned:
        memory = job.memory
        row = [
            job.job.name or "the run",
            "not known" if job.steps is None else f"{job.steps:,}",
            f"{job.lengths.train:,} tokens" + ("" if job.examples else " at most"),
            f"{memory.trainable:,} of {memory.parameters:,}",
            gigabytes(memory.peak) + ("" if job.refused is None else ": does not fit"),
            parts(memory),
        ]
        rows.append(row + ([duration(job.seconds)] if times else []))
    known = [job.steps for job in planned if job.steps is not None]
    total = f"{len(planned):,} job{'s' if len(planned) > 1 else ''}"
    if len(known) == len(planned):
        total += f", {sum(known):,} steps"
    timed = [job.seconds for job in planned if job.seconds is not None]
    if timed and len(timed) == len(planned):
        total += f", about {duration(sum(timed))} of training and evaluation"
    told = [*aligned([" | ".join(row) for row in [rows[0], [], *rows[1:]]]), "", f"{total}; {available}"]
    if any(job.examples is None for job in planned):
        told.append(
            "The rows were not read: rows are taken to be as long as task.max_length lets them, so the memory is an "
            "upper bound, and the steps are not known; --rows reads them."
        )
    return told


def duration(seconds: float | None) -> str:
    """As people say it."""
    if seconds is None:
        return "not timed"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
