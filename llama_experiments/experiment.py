"""The story of a run, on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_experiments.data.sources import Dataset
from llama_experiments.errors import Mistake, check_settings, offer
from llama_experiments.models.base import Model
from llama_experiments.paths import not_writable
from llama_experiments.runs.mirror import Tracker
from llama_experiments.runs.reference import Reference
from llama_experiments.tasks.base import Task
from llama_experiments.techniques.base import Technique
from llama_experiments.training.settings import Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is learned, from what, by which model, how. Its fields are the config groups."""

    model: Model
    dataset: Dataset
    task: Task
    technique: Technique
    training: Training
    tracker: Tracker
    seed: int = 0
    output_dir: str = "outputs"
    reference: Reference | None = None  # losses that somebody printed, for the report

    def __post_init__(self) -> None:
        check_settings(
            ("seed", 0 <= self.seed < 2**32, f"must be from 0 to {2**32 - 1}, not {self.seed}"),
            ("output_dir", bool(self.output_dir.strip()), "must be a folder"),
        )

    def run(self, folder: Path, config: dict[str, Any], overrides: list[str], names: Mapping[str, str]) -> float:
        """Run into `folder`; returns the last evaluation loss, which sweepers minimise.

        Args:
            folder: the run's folder, which Hydra has made.
            config: the composed config as a plain tree, for the tracker.
            overrides: of the command line, for the report.
            names: what was chosen of each group, for people.

        Raises:
            UserError: whatever the user can put right.
        """
        from llama_experiments.data.hygiene import check_rows
        from llama_experiments.data.rows import load_rows
        from llama_experiments.data.tokenized import encode
        from llama_experiments.models.base import cast_parameters, check_length
        from llama_experiments.runs.console import Console
        from llama_experiments.runs.data_report import data_facts
        from llama_experiments.runs.describe import describe_run, leaves, run_tags
        from llama_experiments.runs.environment import describe_environment
        from llama_experiments.runs.folder import RunFolder
        from llama_experiments.runs.mirror import Mirror
        from llama_experiments.runs.record import Record
        from llama_experiments.tasks.task_model import TaskModel
        from llama_experiments.training.device import frozen_dtype, make_accelerator
        from llama_experiments.training.evaluation import evaluate
        from llama_experiments.training.loop import fit
        from llama_experiments.training.probe import probe_padding

        output_dir = Path(self.output_dir)
        accelerator = make_accelerator(self.training)
        with accelerator.main_process_first():  # the others find what the first has kept
            rows = load_rows(self.dataset, self.task)
            task = self.task.bind(rows, self.dataset.labels)
            rows, hygiene = check_rows({part: task.prepared(rows[part]) for part in rows}, task, self.dataset)
            task = self.technique.adapt_task(task, rows["train"])
            loaded = self.model.load(task, self.seed)
            check_length(loaded.model.config.max_position_embeddings, task)
            task.adapt_tokenizer(loaded.tokenizer)
            examples = {part: encode(rows[part], task, loaded.tokenizer, output_dir / "cache") for part in rows}
        hygiene.add_lengths(task, examples)
        examples["train"] = task.weighted(examples["train"])
        model = self.technique.adapt_model(loaded.model)
        cast_parameters(model, frozen_dtype(self.model.dtype, accelerator))
        if self.training.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        groups = self.technique.parameter_groups(model)
        environment = describe_environment(accelerator, rows, self.dataset, loaded)
        task_model = TaskModel(model, task)
        packed = self.training.packs(model.config._attn_implementation)
        with accelerator.autocast():
            probe_padding(task_model, examples["validation"], accelerator.device, packed)

        speaks = accelerator.is_main_process
        console = Console(self.training.epochs, speaks, task.headline)
        mirror = Mirror(self.tracker, output_dir, console.warn)
        facts = describe_run(self, folder, rows, examples, model, accelerator, names, data_facts(hygiene))
        with Record(RunFolder(folder), console, mirror, overrides=overrides, writes=speaks) as record:
            record.start(facts, environment, leaves(config), run_tags(self, folder, environment, names), hygiene)
            for epoch in fit(
                task_model,
                examples["train"],
                examples["validation"],
                training=self.training,
                groups=groups,
                seed=self.seed,
                accelerator=accelerator,
                on_step=record.step,
                tokenizer=loaded.tokenizer,
            ):
                record.epoch(epoch)
                last = epoch.epoch == self.training.epochs or not groups
                if record.improves(epoch) if self.training.save_model == "best" else last:
                    record.keep(epoch, examples["validation"], task)
                    if self.training.save_model != "none" and epoch.epoch > 0:
                        record.keep_model(model, loaded.tokenizer, task.max_length)
            if "test" in examples:  # seen once, by the weights that the evaluation chose
                record.restore(model)
                size = self.training.evaluation_batch_size
                test = evaluate(
                    task_model, task, examples["test"], size, accelerator, packed=packed, tokenizer=loaded.tokenizer
                )
                record.test(test, examples["test"], task)
            comparable = self.reference is not None and self.reference.dataset == self.dataset.hub_name
            record.finish(task, self.reference if comparable else None)
        assert epoch.evaluation is not None, "the last epoch is always evaluated"
        return epoch.evaluation.loss

    def problems(self) -> list[Mistake]:
        """What can be seen to be wrong before anything slow is started, beyond each setting's own rules."""
        found = [Mistake(f"model.{setting}", sentence) for setting, sentence in self.model.problems()]
        found += [Mistake(f"dataset.{setting}", sentence) for setting, sentence in self.dataset.problems()]
        if self.model.attention == "flash_attention_2" and self.training.precision == "fp32":
            found.append(Mistake("model.attention", "flash_attention_2 has no fp32, and training.precision is fp32"))
        for column in self.dataset.columns:
            if column not in self.task.columns:
                sentence = (
                    f"the task reads {' and '.join(self.task.columns)}; {offer(column, self.task.columns, 'columns')}"
                )
                found.append(Mistake(f"dataset.columns.{column}", sentence))
        positions = self.model.positions()
        if positions is not None and self.task.max_length > positions:
            sentence = f"{self.task.max_length} tokens are more than the model's {positions} positions"
            found.append(Mistake("task.max_length", sentence))
        if (unusable := not_writable(Path(self.output_dir))) is not None:
            found.append(Mistake("output_dir", unusable))
        return found

    def not_downloaded(self) -> list[Mistake]:
        """What is needed from the Hub and was never downloaded: mistakes when the Hub cannot be reached."""
        from llama_experiments.hub import not_downloaded, unreachable

        needed = [
            ("model", "model.checkpoint", self.model.hub_name),
            ("dataset", "dataset.name", self.dataset.hub_name),
        ]
        return [
            Mistake(setting, unreachable(name))
            for kind, setting, name in needed
            if name is not None and not_downloaded(kind, name)
        ]
