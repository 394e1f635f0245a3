"""What is written while a run goes on: journal first, then what a person sees, then the mirror.

Of several processes only the first writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import traceback
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llama_experiments.data.examples import Examples
from llama_experiments.data.hygiene import Hygiene
from llama_experiments.disk import DiskError, disk_error
from llama_experiments.errors import UserError, lost_process
from llama_experiments.files import replaced_folder, write_text
from llama_experiments.models.base import quiet_transformers
from llama_experiments.paths import show
from llama_experiments.runs.closing import close_run, plot_tokens
from llama_experiments.runs.console import Console
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.history import History
from llama_experiments.runs.journal import Journal, epoch_record, write_test
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.movement_report import movement_section, tuning_section
from llama_experiments.runs.predictions import write_predictions
from llama_experiments.runs.reference import Reference
from llama_experiments.runs.result import Cost
from llama_experiments.runs.resumption import check_unchanged, note_resumption
from llama_experiments.runs.state import Held
from llama_experiments.secrets import hidden
from llama_experiments.tasks.base import Task
from llama_experiments.techniques import proof
from llama_experiments.training.checkpoint import Checkpoint, Place
from llama_experiments.training.evaluation import Evaluation
from llama_experiments.training.loop import Epoch
from llama_experiments.training.settings import Training
from llama_experiments.training.step import Step
from llama_experiments.training.tuning import Attempt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.models.shards import Whole
    from llama_experiments.techniques.base import ParameterGroup, Technique


class Record:
    """A run's record; a context manager, so that a run that fails is closed as failed."""

    def __init__(
        self,
        folder: RunFolder,
        console: Console,
        mirror: Mirror,
        overrides: list[str],
        *,
        writes: bool,
        keeps_best: bool = True,
        resumes: bool = False,
    ) -> None:
        self.folder, self.console, self.mirror = folder, console, mirror
        self.history = History(keeps_best=keeps_best, overrides=overrides)
        self._writes, self._resumes = writes, resumes
        self._journal: Journal | None = None
        self._held: Held | None = None
        self._step = self._steps = 0  # made, and of the whole run

    def start(
        self,
        facts: dict[str, str],
        environment: dict[str, Any],
        parameters: dict[str, Any],
        tags: dict[str, str],
        hygiene: Hygiene | None = None,
    ) -> None:
        """Claim the folder, write the environment, open the journal and the mirror.

        Raises:
            UserError: the folder is another run's, or the data of a run that is resumed are not as they were.
        """
        self.history.facts, self.history.hygiene = facts, hygiene
        if not self._writes:
            return
        if not self._resumes:
            self.folder.claim()
        self._held = Held(self.folder.path)
        if self._resumes:
            check_unchanged(self.folder, environment)
        self._held.tell("running")
        told = {"tags": tags, "facts": facts, "parameters": parameters}
        write_text(self.folder.run, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
        if not self.folder.environment.exists():
            write_text(self.folder.environment, json.dumps(environment, indent=2) + "\n")
        self.console.facts(facts)
        if hygiene is not None:
            write_text(self.folder.hygiene, json.dumps(hygiene.record(), indent=2, ensure_ascii=False) + "\n")
        if not self._resumes:
            self._open()

    def go_on_from(self, checkpoint: Checkpoint | None, environment: dict[str, Any]) -> None:
        """Go back to where a checkpoint was taken; without one, to the beginning."""
        place = checkpoint.place if checkpoint is not None else Place()
        if self._writes:
            # What a write that was killed has left beside.
            for beside in (*self.folder.path.glob(".*.*"), *self.folder.checkpoints.glob(".step-*")):
                shutil.rmtree(beside) if beside.is_dir() else beside.unlink()
            note_resumption(self.folder, place, environment)
        self.history.read_back(self.folder, place, writes=self._writes)
        if self._writes:
            self._open()
        self._step = place.steps
        where = f"step {place.steps:,}, {checkpoint.folder.name}" if checkpoint else "the beginning: no checkpoint"
        self.console.line(f"going on from {where}\n")

    def _open(self) -> None:
        """Open the journal, and the mirror that follows it."""
        self._journal = Journal(self.folder)
        self.mirror.start(self.folder)

    def sync(self) -> None:
        """Have the journal on the disk."""
        if self._journal is not None:
            self._journal.sync()

    def step(self, step: Step) -> None:
        """Record an optimizer step."""
        self._step, self._steps = step.step, step.steps
        if self._journal is not None:
            self._journal.step(step)
            self.history.training_seconds += step.seconds
            self.console.step(step)

    def epoch(self, epoch: Epoch, *, last: bool = False) -> bool:
        """Record an epoch; whether its predictions and weights are to be kept as the run's.

        Args:
            last: whether none comes after it.
        """
        record = epoch_record(epoch)
        if self._journal is not None:
            record = self._journal.epoch(epoch)
            self.console.epoch(record)
            self.mirror.changed()
            if epoch.evaluation and (samples := epoch.evaluation.samples):
                self.history.samples[epoch.epoch] = samples
                self.console.samples(samples)
        return self.history.add(record, last=last)

    def keep(self, epoch: Epoch, examples: Examples, task: Task) -> None:
        """Keep an epoch's predictions as the run's."""
        assert epoch.evaluation is not None
        if self._writes:
            write_predictions(self.folder.predictions, task, epoch.evaluation, examples)

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

    def restore(self, technique: Technique, whole: Whole) -> None:
        """Put the kept weights back, where they are saved and not the last."""
        kept = self.history.kept
        saved = any((self.folder.path / name).exists() for name in technique.saved())
        if kept is not None and kept["epoch"] < self.history.epochs[-1]["epoch"] and saved:
            model = whole.gathered(keep=True)
            technique.restore(model, self.folder.path)
            whole.put_back(model)

    def tuned(self, attempts: Sequence[Attempt], learning_rate: float) -> None:
        """Record the learning rates that were tried before."""
        if attempts and self._writes:
            tried = [dataclasses.asdict(one) for one in attempts]
            for one in tried:  # JSON has no infinity
                one["loss"] = one["loss"] if math.isfinite(one["loss"]) else None
            write_text(self.folder.tuning, json.dumps(tried, indent=2) + "\n")
            self.history.learned.append(tuning_section(attempts, learning_rate))
            self.history.tuning_seconds = sum(attempt.seconds for attempt in attempts)

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
        pictured = self.folder.rates.exists()
        self.history.learned.append(movement_section(tensors, training.learning_rate, pictured=pictured))

    def shows(self, example: str) -> None:
        """Keep an example as the model reads it, for the report."""
        self.history.shown = example

    def test(self, evaluation: Evaluation, examples: Examples, task: Task) -> None:
        """Record the evaluation of the test part, and its predictions."""
        if self._journal is None:
            return
        assert self.history.kept is not None, "an epoch was evaluated before"
        self.history.test = test = write_test(self.folder, self.history.kept["epoch"], evaluation)
        write_predictions(self.folder.test_predictions, task, evaluation, examples)
        self.console.test(test)
        self.mirror.changed()

    def finish(self, task: Task, cost: Cost, reference: Reference | None = None) -> None:
        """Draw the plots, write result and report, close the mirror, and say where everything is."""
        if self._journal is not None:
            close_run(self.folder, self.history, task, cost, reference, self.mirror, self.console)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.console.close()
        if self._held is None:
            return
        if error is None:
            try:
                self._close()
                self._held.tell("finished")
            except OSError as late:
                raise (self._of_disk(late) or late) from late
            finally:
                self._held.release()
            return
        of_disk = self._of_disk(error)
        # On a disk that is full nothing of this may be possible, which is no news then: the run counts as killed.
        for last in (self._close, partial(self._ended_by, of_disk or error)):
            with contextlib.suppress(OSError):
                last()
        self.mirror.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        self._held.release()
        if of_disk is not None:
            raise of_disk from error

    def _of_disk(self, error: BaseException) -> DiskError | None:
        if isinstance(error, UserError) or (told := disk_error(error, self.folder.path)) is None:
            return None
        return DiskError(f"{told}; then `python -m llama_experiments resume {show(self.folder.path)}` goes on")

    def _close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _ended_by(self, error: BaseException) -> None:
        assert self._held is not None
        stopped, ours, lost = isinstance(error, KeyboardInterrupt), isinstance(error, UserError), lost_process(error)
        where = f" after step {self._step:,} of {self._steps:,}" if self._steps else ""
        if stopped:
            why = f"{str(error) or 'interrupted'}{where}"
        else:
            why = lost or (str(error) if ours else f"{type(error).__name__}: {error}")
        why = hidden(why)
        if not stopped and not ours and not lost:
            write_text(self.folder.traceback, hidden("".join(traceback.format_exception(error))))
        self._held.tell("stopped" if stopped else "failed", why)
        if self.history.hygiene is not None and not stopped:  # who stops a run does not wait for the library of plots
            plot_tokens(self.history.hygiene, self.folder)
        if stopped:
            self.console.line(f"{why}; to go on: python -m llama_experiments resume {show(self.folder.path)}")
