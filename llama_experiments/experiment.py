"""The story of a run, on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_experiments.data.sources import Dataset
from llama_experiments.errors import check_settings
from llama_experiments.garbage import importing
from llama_experiments.models.base import Model
from llama_experiments.runs.reference import Reference
from llama_experiments.runs.tracker import Tracker
from llama_experiments.sweeps.base import Sweep
from llama_experiments.tasks.base import Task
from llama_experiments.techniques.base import Technique
from llama_experiments.training.settings import Training
from llama_experiments.training.tuning import Attempt, Tuning


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is learned, from what, by which model, how. Its fields are the config groups."""

    model: Model
    dataset: Dataset
    task: Task
    technique: Technique
    training: Training
    tracker: Tracker
    tuning: Tuning | None = None  # of the learning rate, before the run
    sweep: Sweep = dataclasses.field(default_factory=Sweep)  # where the command is several runs
    seed: int = 0
    output_dir: str = "outputs"
    reference: Reference | None = None  # losses that somebody printed, for the report

    def __post_init__(self) -> None:
        check_settings(
            ("seed", 0 <= self.seed < 2**32, f"must be from 0 to {2**32 - 1}, not {self.seed}"),
            ("output_dir", bool(self.output_dir.strip()), "must be a folder"),
        )

    def run(
        self,
        folder: Path,
        config: dict[str, Any],
        overrides: list[str],
        names: Mapping[str, str],
        tags: Mapping[str, str] | None = None,
        *,
        resumes: bool = False,
        one_of_several: bool = False,
    ) -> float:
        """Run into `folder`; returns the last evaluation loss, which sweepers minimise.

        Args:
            folder: the run's folder, which Hydra has made.
            config: the composed config as a plain tree, for the tracker.
            overrides: of the command line, for the report.
            names: what was chosen of each group, for people.
            tags: for the tracker, of the sweep that the run is a job of.
            resumes: whether the run goes on in its folder, from its newest checkpoint.
            one_of_several: whether a sweep chooses among it and others, so that the test rows are not yet its own.

        Raises:
            UserError: whatever the user can put right.
            Stopped: a signal asked for it.
        """
        with importing():
            from llama_experiments.config import leaves
            from llama_experiments.material import gather, load, ready
            from llama_experiments.models.shards import Whole
            from llama_experiments.runs.console import Console
            from llama_experiments.runs.describe import describe_run, run_cost, run_tags
            from llama_experiments.runs.environment import describe_environment
            from llama_experiments.runs.folder import RunFolder
            from llama_experiments.runs.mirror import Mirror
            from llama_experiments.runs.record import Record
            from llama_experiments.tasks.task_model import TaskModel
            from llama_experiments.techniques.proof import Proof
            from llama_experiments.training.checkpoints import Checkpoints
            from llama_experiments.training.device import leaving_together, make_accelerator, probe_device
            from llama_experiments.training.evaluation import evaluate
            from llama_experiments.training.frozen_trunk import frozen_trunk
            from llama_experiments.training.loop import fit
            from llama_experiments.training.memory import PeakMemory
            from llama_experiments.training.probe import probe_once
            from llama_experiments.training.stopping import Stopping

        run, cache = RunFolder(folder), Path(self.output_dir) / "cache"
        accelerator = make_accelerator(self.training, self.model.width())
        material = gather(self, accelerator, cache)
        task, examples, tokenizer = material.task, material.examples, material.loaded.tokenizer
        console = Console(
            self.training.epochs if self.technique.trains else 0, accelerator.is_main_process, task.headline
        )
        training, attempts = self.training, list[Attempt]()
        if self.tuning is not None and self.technique.trains:
            start = lambda: ready(self, load(self, task).model, accelerator)  # noqa: E731
            rows, tell = material.rows["train"], console.attempt
            training, attempts = self.tuning.read_back(run.tuning, training) or self.tuning.choose(
                training, rows, task, tokenizer, start, self.seed, accelerator, cache, tell
            )

        model, groups = ready(self, material.loaded.model, accelerator)
        proof = Proof(model, groups)
        environment = describe_environment(accelerator, material.rows, self.dataset, material.loaded, proof.before)
        task_model = TaskModel(model, task)
        attention = model.config._attn_implementation
        packed = training.packs(attention)
        computed = (environment["model"]["starting_weights_hash"], training.compile, training.liger_kernels)
        with accelerator.autocast():
            probe_once(task_model, examples["validation"], probe_device(accelerator, attention), packed, computed)
        facts = describe_run(self, folder, material, training, model, groups, accelerator, names)
        tagged = run_tags(self, folder, environment, names) | dict(tags or {})

        mirror = Mirror(self.tracker, Path(self.output_dir), console.warn)
        writes, keeps_best = accelerator.is_main_process, training.save_model == "best"
        record = Record(run, console, mirror, overrides, writes=writes, keeps_best=keeps_best, resumes=resumes)
        with Stopping() as stopping, leaving_together(accelerator), record:
            record.start(facts, environment, leaves(config), tagged, material.hygiene)
            checkpoints = Checkpoints(
                run.checkpoints, training.checkpoint, accelerator, before=record.sync, warn=console.warn
            )
            if resumes:
                record.go_on_from(checkpoints.find(), environment)
            record.tuned(attempts, training.learning_rate)
            record.shows(task.as_read(examples["validation"], 0, tokenizer))
            memory, whole = PeakMemory(accelerator.device), Whole(model, sharded=accelerator.is_fsdp2)
            frozen = None
            if groups:
                frozen = frozen_trunk(task_model, examples.values(), training, accelerator, cache, proof.before)
            for epoch in fit(
                task_model,
                examples["train"],
                examples["validation"],
                training=training,
                groups=groups,
                seed=self.seed,
                accelerator=accelerator,
                on_step=record.step,
                tokenizer=tokenizer,
                checkpoints=checkpoints,
                stopping=stopping,
                frozen=frozen,
            ):
                last = epoch.epoch == training.epochs or not groups or record.history.ends_early(training, epoch)
                if record.epoch(epoch, last=last):
                    record.keep(epoch, examples["validation"], task)
                    if training.save_model != "none" and epoch.epoch > 0:
                        record.keep_model(self.technique, whole.gathered(keep=writes), tokenizer, task.max_length)
                if last:
                    break

            cost = run_cost(self, names, training, model, examples["validation"], memory.growth())
            steps = training.steps_per_epoch(len(examples["train"]))
            tensors = proof.check(model, training.learning_rate, steps * record.history.last["epoch"])
            record.moved(tensors, groups, training, steps * training.epochs)
            if "test" in examples and not one_of_several:  # seen once, by the weights that the evaluation chose
                record.restore(self.technique, whole)
                size, splits = training.evaluation_batch_size, training.out_of_memory == "split"
                test = evaluate(
                    task_model,
                    task,
                    examples["test"],
                    size,
                    accelerator,
                    packed=packed,
                    tokenizer=tokenizer,
                    splits=splits,
                )
                record.test(test, examples["test"], task)
            comparable = self.reference is not None and self.reference.dataset == self.dataset.hub_name
            record.finish(task, cost, self.reference if comparable else None)
        checkpoints.clear()  # not before the run is known to have finished: nothing else goes on from there
        return float(record.history.last["eval_loss"])
