"""What is written while a run goes on: journal first, then what a person sees, then the mirror.

Of several processes only the first writes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llama_experiments.data.examples import Examples
from llama_experiments.data.hygiene import Hygiene
from llama_experiments.errors import UserError
from llama_experiments.files import replaced, replaced_folder, write_text
from llama_experiments.models.base import quiet_transformers
from llama_experiments.paths import show
from llama_experiments.runs.console import Console
from llama_experiments.runs.data_report import data_section
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import Journal
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.movement_report import movement_section, tuning_section
from llama_experiments.runs.reference import Reference
from llama_experiments.runs.report import as_read_section, class_table, contents, samples_by_prompt, write_report
from llama_experiments.runs.result import Cost, Result
from llama_experiments.runs.state import Held
from llama_experiments.tasks.base import Sample, Task
from llama_experiments.techniques import proof
from llama_experiments.training.evaluation import Evaluation
from llama_experiments.training.loop import Epoch, Step
from llama_experiments.training.settings import Training
from llama_experiments.training.tuning import Attempt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.techniques.base import ParameterGroup, Technique

# At the end, on the console:
TOLD = (
    "report.md",
    "curves.png",
    "confusion.png",
    "predictions.parquet",
    "test_predictions.parquet",
    "adapter/",
    "model/",
)


class Record:
    """A run's record; a context manager, so that a run that fails is closed as failed."""

    def __init__(
        self, folder: RunFolder, console: Console, mirror: Mirror, overrides: list[str], *, writes: bool
    ) -> None:
        self.folder, self.console, self.mirror = folder, console, mirror
        self._overrides, self._writes = overrides, writes
        self._journal: Journal | None = None
        self._held: Held | None = None
        self._epochs: list[dict[str, Any]] = []
        self._epoch = 0  # the last
        self._kept: dict[str, Any] | None = None
        self._test: dict[str, Any] | None = None
        self._facts: dict[str, str] = {}
        self._hygiene: Hygiene | None = None
        self._samples: dict[int, list[Sample]] = {}  # by epoch
        self._learned: list[list[str]] = []  # sections of the report about what moved, and how fast
        self._shown = ""  # an example, as the model reads it
        self._training_seconds = self._tuning_seconds = 0.0

    def start(
        self,
        facts: dict[str, str],
        environment: dict[str, Any],
        parameters: dict[str, Any],
        tags: dict[str, str],
        hygiene: Hygiene | None = None,
    ) -> None:
        """Claim the folder, write the environment, open the journal and the mirror."""
        if not self._writes:
            return
        self.folder.claim()
        self._held = Held(self.folder.path)
        self._held.tell("running")
        told = {"tags": tags, "facts": facts, "parameters": parameters}
        write_text(self.folder.run, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
        self._facts, self._hygiene = facts, hygiene
        write_text(self.folder.environment, json.dumps(environment, indent=2) + "\n")
        self._journal = Journal(self.folder)
        self.console.facts(facts)
        if hygiene is not None:
            from llama_experiments.runs.plots import plot_lengths

            lengths = {name: part.lengths for name, part in hygiene.parts.items() if part.lengths}
            plot_lengths(lengths, hygiene.max_length, self.folder.lengths)
            write_text(self.folder.hygiene, json.dumps(hygiene.record(), indent=2, ensure_ascii=False) + "\n")
        self.mirror.start(self.folder)

    def step(self, step: Step) -> None:
        """Record an optimizer step."""
        if self._journal is not None:
            self._journal.step(step)
            self._training_seconds += step.seconds
            self.console.step(step)

    def epoch(self, epoch: Epoch) -> None:
        """Record an epoch."""
        self._epoch = epoch.epoch
        if self._journal is not None:
            record = self._journal.epoch(epoch)
            self._epochs.append(record)
            self.console.epoch(record)
            self.mirror.changed()
            if epoch.evaluation and (samples := epoch.evaluation.samples):
                self._samples[epoch.epoch] = samples
                self.console.samples(samples)

    def improves(self, epoch: Epoch) -> bool:
        """Whether an epoch's evaluation loss is the lowest since training began."""
        if epoch.evaluation is None:
            return False
        kept = self._kept
        return kept is None or kept["epoch"] == 0 or epoch.evaluation.loss < kept["eval_loss"]

    def keep(self, epoch: Epoch, examples: Examples, task: Task) -> None:
        """Keep an epoch's predictions as the run's."""
        assert epoch.evaluation is not None
        evaluation = epoch.evaluation
        self._kept = {"epoch": epoch.epoch, "eval_loss": evaluation.loss, "items": evaluation.count}
        if self._writes:
            _write_predictions(self.folder.predictions, task, evaluation, examples)

    def keep_model(
        self, technique: Technique, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, max_length: int
    ) -> None:
        """Save the weights as they are now, with their tokenizer, for the libraries that people load them with."""
        if not self._writes:
            return
        tokenizer.model_max_length = max_length
        for name, save in technique.saved().items():
            with quiet_transformers(), replaced_folder(self.folder.path / name) as beside:
                save(model, beside)
                tokenizer.save_pretrained(beside)

    def restore(self, technique: Technique, model: PreTrainedModel) -> None:
        """Put the kept weights back, where they are saved and not the last."""
        saved = any((self.folder.path / name).exists() for name in technique.saved())
        if self._kept is not None and self._kept["epoch"] < self._epoch and saved:
            technique.restore(model, self.folder.path)

    def tuned(self, attempts: Sequence[Attempt], learning_rate: float) -> None:
        """Record the learning rates that were tried before."""
        if attempts and self._writes:
            tried = [dataclasses.asdict(one) for one in attempts]
            for one in tried:  # JSON has no infinity
                one["loss"] = one["loss"] if math.isfinite(one["loss"]) else None
            write_text(self.folder.tuning, json.dumps(tried, indent=2) + "\n")
            self._learned.append(tuning_section(attempts, learning_rate))
            self._tuning_seconds = sum(attempt.seconds for attempt in attempts)

    def moved(
        self, tensors: Sequence[proof.Tensor], groups: Sequence[ParameterGroup], training: Training, steps: int
    ) -> None:
        """Record the proof of what moved, and draw how fast it could."""
        if not self._writes:
            return
        write_text(self.folder.movement, json.dumps(proof.record(tensors), indent=2) + "\n")
        from llama_experiments.runs.plot_rates import plot_rates, worth_drawing

        if worth_drawing(groups, training):
            plot_rates(groups, training, steps, self.folder.rates)
        self._learned.append(movement_section(tensors, training.learning_rate, pictured=self.folder.rates.exists()))

    def shows(self, example: str) -> None:
        """Keep an example as the model reads it, for the report."""
        self._shown = example

    def test(self, evaluation: Evaluation, examples: Examples, task: Task) -> None:
        """Record the evaluation of the test part, and its predictions."""
        if self._journal is None:
            return
        assert self._kept is not None, "an epoch was evaluated before"
        self._test = self._journal.test(self._kept["epoch"], evaluation)
        _write_predictions(self.folder.test_predictions, task, evaluation, examples)
        self.console.test(self._test)
        self.mirror.changed()

    def finish(self, task: Task, cost: Cost, reference: Reference | None = None) -> None:
        """Draw the plots, write result and report, close the mirror, and say where everything is."""
        if not self._writes or self._journal is None:
            return
        from llama_experiments.runs.plots import plot_confusion, plot_curves

        plot_curves(self._epochs, self.folder.name, self.folder.curves, task.item)
        predictions = _read_predictions(self.folder.predictions)
        names = getattr(task, "labels", None)
        if "prediction" in predictions and names:
            plot_confusion(predictions["label"], predictions["prediction"], names, self.folder.confusion)
        saved = self._kept["epoch"] if self._kept else None
        sections = [reference.table(self._epochs)] if reference else []
        if "prediction" in predictions and names and (kept := [e for e in self._epochs if e["epoch"] == saved]):
            sections.append(class_table(predictions, names, kept[0], task.headline or ()))
        sections += self._learned
        sections += [as_read_section(self._shown)] if self._shown else []
        sections += [data_section(self._hygiene)] if self._hygiene else []
        sections += [samples_by_prompt(self._samples)] if self._samples else []
        told = (self._facts, self._epochs, saved, task.item, self._overrides, sections, self._test, task.headline)
        self._result(task, cost).write(self.folder)
        write_report(self.folder, *told)
        self.mirror.finish("FINISHED")
        self._say_where(saved)

    def _result(self, task: Task, cost: Cost) -> Result:
        assert self._kept is not None, "the last epoch is always evaluated"
        number = self._kept["epoch"]
        kept = next(record for record in self._epochs if record["epoch"] == number)
        seconds = sum(record["seconds"] for record in self._epochs)
        trained = sum(record["tokens"] for record in self._epochs)
        timed = (trained, self._training_seconds) if trained else (cost.evaluation_tokens, seconds)
        return Result(
            task=task.name,
            epoch=kept["epoch"],
            eval_loss=kept["eval_loss"],
            item=task.item,
            items=self._kept["items"],
            metrics=kept["metrics"],
            metric=task.metric,
            higher_is_better=task.higher_is_better,
            seconds=seconds,
            tuning_seconds=self._tuning_seconds,
            tokens_per_second=timed[0] / max(timed[1], 1e-9),
            **{name: value for name, value in vars(cost).items() if name != "evaluation_tokens"},
        )

    def _say_where(self, saved: int | None) -> None:
        say = self.console.line
        say()
        say(f"everything is in  {show(self.folder.path)}")
        told = [(name, what) for name, what in contents(self.folder, saved) if name in TOLD]
        width = max(len(name) for name, _ in told)
        for name, what in told:
            say(f"  {name:<{width}}  {what}")
        if self.mirror.failure is None:
            say(f"compare runs in MLflow:  {self.mirror.opened_by}")
        else:
            say("not mirrored to MLflow (see the warning above); the journal epochs.jsonl has everything")

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.console.close()
        if self._journal is None:
            return
        self._journal.close()
        assert self._held is not None, "the folder is held before its journal is opened"
        if kind is None:
            self._held.tell("finished")
        else:
            stopped = issubclass(kind, KeyboardInterrupt)
            why = (
                "interrupted"
                if stopped
                else str(error)
                if isinstance(error, UserError)
                else f"{kind.__name__}: {error}"
            )
            if not stopped and not isinstance(error, UserError):
                write_text(self.folder.traceback, "".join(traceback.format_exception(error)))
            self._held.tell("stopped" if stopped else "failed", why)
            self.mirror.finish("KILLED" if stopped else "FAILED")
        self._held.release()


def _write_predictions(file: Path, task: Task, evaluation: Evaluation, examples: Examples) -> None:
    """The task's table, and for each of its rows what it adds to the metric by which runs are compared."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = task.prediction_table(evaluation.predictions, examples)
    table["metric_sum"], table["metric_count"] = task.row_metric(table)
    if task.shared_column is not None:
        seen: dict[Any, int] = {}
        groups = [seen.setdefault(value, len(seen)) for value in examples.rows.table[task.shared_column][:]]
        group_of = dict(zip(examples.rows.numbers, groups, strict=True))
        table["group"] = [group_of[number] for number in table["row"]]
    with replaced(file) as beside:
        pq.write_table(pa.table(table), beside)


def _read_predictions(file: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    return dict(pq.read_table(file).to_pydict()) if file.exists() else {}
