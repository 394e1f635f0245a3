"""What is written while a run goes on: journal first, then what a person sees, then the mirror.

Of several processes only the first writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llama_experiments.data.examples import Examples
from llama_experiments.data.hygiene import Hygiene
from llama_experiments.errors import UserError
from llama_experiments.files import replaced, replaced_folder, write_text
from llama_experiments.models.base import load_weights, quiet_transformers, save_weights
from llama_experiments.paths import show
from llama_experiments.runs.console import Console, as_text
from llama_experiments.runs.data_report import data_section
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import Journal
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.reference import Reference
from llama_experiments.runs.report import class_table, contents, samples_by_prompt, write_report
from llama_experiments.tasks.base import Sample, Task
from llama_experiments.training.evaluation import Evaluation
from llama_experiments.training.loop import Epoch, Step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# At the end, on the console:
TOLD = ("report.md", "curves.png", "confusion.png", "predictions.parquet", "test_predictions.parquet", "model/")


class Record:
    """A run's record; a context manager, so that a run that fails is closed as failed."""

    def __init__(
        self, folder: RunFolder, console: Console, mirror: Mirror, *, overrides: list[str], writes: bool
    ) -> None:
        self.folder, self.console, self.mirror = folder, console, mirror
        self._overrides, self._writes = overrides, writes
        self._journal: Journal | None = None
        self._epochs: list[dict[str, Any]] = []
        self._epoch = 0  # the last
        self._kept: dict[str, Any] | None = None
        self._test: dict[str, Any] | None = None
        self._facts: dict[str, str] = {}
        self._hygiene: Hygiene | None = None
        self._samples: dict[int, list[Sample]] = {}  # by epoch

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
        self._facts, self._hygiene = facts, hygiene
        write_text(self.folder.environment, json.dumps(environment, indent=2) + "\n")
        self._journal = Journal(self.folder)
        self.console.facts(facts)
        if hygiene is not None:
            from llama_experiments.runs.plots import plot_lengths

            lengths = {name: part.lengths for name, part in hygiene.parts.items() if part.lengths}
            plot_lengths(lengths, hygiene.max_length, self.folder.lengths)
            write_text(self.folder.hygiene, json.dumps(hygiene.record(), indent=2, ensure_ascii=False) + "\n")
        self.mirror.start(self.folder.name, parameters, tags, environment["data"])

    def step(self, step: Step) -> None:
        """Record an optimizer step."""
        if self._journal is not None:
            record = self._journal.step(step)
            self.console.step(step)
            self.mirror.step(record)

    def epoch(self, epoch: Epoch) -> None:
        """Record an epoch."""
        self._epoch = epoch.epoch
        if self._journal is not None:
            record = self._journal.epoch(epoch)
            self._epochs.append(record)
            self.console.epoch(record)
            self.mirror.epoch(record)
            if epoch.evaluation and (samples := epoch.evaluation.samples):
                self._samples[epoch.epoch] = samples
                self.console.samples(samples)
                self.mirror.samples(epoch.epoch, as_text(samples))

    def improves(self, epoch: Epoch) -> bool:
        """Whether an epoch's evaluation loss is the lowest since training began."""
        if epoch.evaluation is None:
            return False
        kept = self._kept
        return kept is None or kept["epoch"] == 0 or epoch.evaluation.loss < kept["eval_loss"]

    def keep(self, epoch: Epoch, examples: Examples, task: Task) -> None:
        """Keep an epoch's predictions as the run's."""
        assert epoch.evaluation is not None
        self._kept = {"epoch": epoch.epoch, "eval_loss": epoch.evaluation.loss}
        if self._writes:
            _write_predictions(self.folder.predictions, task.prediction_table(epoch.evaluation.predictions, examples))

    def keep_model(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
        """Save the weights as they are now, with their tokenizer, for plain transformers."""
        if not self._writes:
            return
        tokenizer.model_max_length = max_length
        with quiet_transformers(), replaced_folder(self.folder.model) as beside:
            save_weights(model, beside)
            tokenizer.save_pretrained(beside)

    def restore(self, model: PreTrainedModel) -> None:
        """Put the kept weights back, where they are saved and not the last."""
        if self._kept is not None and self._kept["epoch"] < self._epoch and self.folder.model.exists():
            load_weights(model, self.folder.model)

    def test(self, evaluation: Evaluation, examples: Examples, task: Task) -> None:
        """Record the evaluation of the test part, and its predictions."""
        if self._journal is None:
            return
        assert self._kept is not None, "an epoch was evaluated before"
        self._test = self._journal.test(self._kept["epoch"], evaluation)
        _write_predictions(self.folder.test_predictions, task.prediction_table(evaluation.predictions, examples))
        self.console.test(self._test)
        self.mirror.test(self._test)

    def finish(self, task: Task, reference: Reference | None = None) -> None:
        """Draw the plots, write the report, close the mirror, and say where everything is."""
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
        sections += [data_section(self._hygiene)] if self._hygiene else []
        sections += [samples_by_prompt(self._samples)] if self._samples else []
        told = (self._facts, self._epochs, saved, task.item, self._overrides, sections, self._test, task.headline)
        summary = write_report(self.folder, *told)
        pictures = [self.folder.curves, self.folder.confusion, self.folder.lengths, self.folder.report]
        records = [self.folder.hygiene, self.folder.epochs, self.folder.test, self.folder.samples]
        records.append(self.folder.environment)
        self.mirror.finish("FINISHED", [self.folder.hydra, *pictures, *records], summary)
        self._say_where(saved)

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
        if kind is not None and self.mirror.run_id is not None:
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
            why = str(error) if isinstance(error, UserError) else kind.__name__
            self.mirror.finish(status, [self.folder.hydra, self.folder.epochs, self.folder.environment], why)


def _write_predictions(file: Path, table: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replaced(file) as beside:
        pq.write_table(pa.table(table), beside)


def _read_predictions(file: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    return dict(pq.read_table(file).to_pydict()) if file.exists() else {}
