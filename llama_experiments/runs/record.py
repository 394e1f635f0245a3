"""What is written while a run goes on: journal first, then what a person sees, then the mirror.

Of several processes only the first writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llama_experiments.data.examples import Examples
from llama_experiments.errors import UserError
from llama_experiments.files import replaced, replaced_folder, write_text
from llama_experiments.models.base import quiet_transformers
from llama_experiments.paths import show
from llama_experiments.runs.console import Console
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import Journal
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.reference import Reference
from llama_experiments.runs.report import contents, write_report
from llama_experiments.tasks.base import Task
from llama_experiments.training.loop import Epoch, Step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TOLD = ("report.md", "curves.png", "confusion.png", "predictions.parquet", "model/")  # at the end, on the console


class Record:
    """A run's record; a context manager, so that a run that fails is closed as failed."""

    def __init__(
        self, folder: RunFolder, console: Console, mirror: Mirror, *, overrides: list[str], writes: bool
    ) -> None:
        self.folder, self.console, self.mirror = folder, console, mirror
        self._overrides, self._writes = overrides, writes
        self._journal: Journal | None = None
        self._epochs: list[dict[str, Any]] = []
        self._kept: dict[str, Any] | None = None
        self._facts: dict[str, str] = {}

    def start(
        self,
        facts: dict[str, str],
        environment: dict[str, Any],
        parameters: dict[str, Any],
        tags: dict[str, str],
    ) -> None:
        """Claim the folder, write the environment, open the journal and the mirror."""
        if not self._writes:
            return
        self.folder.claim()
        self._facts = facts
        write_text(self.folder.environment, json.dumps(environment, indent=2) + "\n")
        self._journal = Journal(self.folder)
        self.console.facts(facts)
        self.mirror.start(self.folder.name, parameters, tags, environment["data"])

    def step(self, step: Step) -> None:
        """Record an optimizer step."""
        if self._journal is not None:
            record = self._journal.step(step)
            self.console.step(step)
            self.mirror.step(record)

    def epoch(self, epoch: Epoch) -> None:
        """Record an epoch."""
        if self._journal is not None:
            record = self._journal.epoch(epoch)
            self._epochs.append(record)
            self.console.epoch(record)
            self.mirror.epoch(record)

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
            model.save_pretrained(beside)
            tokenizer.save_pretrained(beside)

    def finish(self, task: Task, reference: Reference | None = None) -> None:
        """Draw the plots, write the report, close the mirror, and say where everything is."""
        if not self._writes or self._journal is None:
            return
        from llama_experiments.runs.plots import plot_confusion, plot_curves

        plot_curves(self._epochs, self.folder.name, self.folder.curves, task.item)
        predictions = _read_predictions(self.folder.predictions)
        if "prediction" in predictions and (names := getattr(task, "labels", None)):
            plot_confusion(predictions["label"], predictions["prediction"], names, self.folder.confusion)
        saved = self._kept["epoch"] if self._kept else None
        sections = [reference.table(self._epochs)] if reference else []
        summary = write_report(self.folder, self._facts, self._epochs, saved, task.item, self._overrides, sections)
        pictures = [self.folder.curves, self.folder.confusion, self.folder.report]
        records = [self.folder.epochs, self.folder.environment]
        self.mirror.finish("FINISHED", [self.folder.hydra, *pictures, *records], summary)
        self._say_where(saved)

    def _say_where(self, saved: int | None) -> None:
        say = self.console.line
        say()
        say(f"everything is in  {show(self.folder.path)}")
        for name, what in contents(self.folder, saved):
            if name in TOLD:
                say(f"  {name:<20} {what}")
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
