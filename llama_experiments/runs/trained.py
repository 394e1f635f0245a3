"""A saved run's trained model again, with its tokenizer and its task as it was bound to the run's rows.

`Replayed` is the run's config, checked: cheap. Its `load()` brings the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llama_experiments.config import build
from llama_experiments.errors import ConfigError, UserError
from llama_experiments.experiment import Experiment
from llama_experiments.garbage import importing
from llama_experiments.paths import show
from llama_experiments.preflight import unknown_columns
from llama_experiments.runs.arithmetic import as_recorded
from llama_experiments.runs.overridden import base_given, with_overrides
from llama_experiments.runs.predictions import class_names
from llama_experiments.runs.saved import SavedRun
from llama_experiments.tasks.base import Task

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.rows import Rows
    from llama_experiments.models.base import Loaded, Model


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model as its run left it, in evaluation mode on the device, and all that it takes to ask it."""

    task: Task
    model: PreTrainedModel
    task_model: torch.nn.Module  # both together, in the run's arithmetic
    tokenizer: PreTrainedTokenizerFast
    accelerator: Accelerator
    packed: bool
    starting_hash: str | None  # of the weights that the run started from, where these were loaded


@dataclasses.dataclass(frozen=True)
class Replayed:
    """A run's config as objects, perhaps with settings that were given other values since."""

    run: SavedRun
    experiment: Experiment
    own: Experiment  # without these

    @classmethod
    def of(cls, run: SavedRun, overrides: Sequence[str] = ()) -> Replayed:
        """Read, composed and checked.

        Raises:
            UserError: the config is unsafe or wrong, the run is of a newer version, or it saved no weights.
        """
        run.refuse_newer()
        as_saved = run.composition()
        own = as_recorded(build(as_saved.tree, Experiment, as_saved.origin), run)
        experiment = own
        if overrides:
            composition = with_overrides(run, overrides)
            experiment = as_recorded(build(composition.tree, Experiment, composition.origin), run)
            if wrong := unknown_columns(experiment.dataset, experiment.task):
                raise ConfigError([mistake.at(composition.origin(mistake.path)) for mistake in wrong])
        replayed = cls(run, experiment, own)
        replayed._check_weights()
        if replayed.weights == "model" and (base := base_given(overrides)):
            raise UserError(f"{base}: the run saved its whole model, which is what is used; leave {base} out")
        return replayed

    @property
    def weights(self) -> str:
        """What was saved of its weights: the name of a folder in the run's; empty where nothing was trained."""
        if not self.own.technique.trains:
            return ""
        there = [name for name in self.own.technique.saved() if (self.run.folder.path / name).is_dir()]
        # An adapter needs the model that it was trained beside; merged into it, the model does for itself.
        if there[:1] == ["adapter"] and "model" in there and self.experiment.model.problems():
            return "model"
        return there[0] if there else ""

    def described(self) -> str:
        """Which weights these are, for people."""
        if self.weights:
            return f"{show(self.run.folder.path / self.weights)}/"
        return "the model as it was; nothing was trained"

    def bound(self) -> Task:
        """The run's task, knowing its classes from what the run left behind."""
        from llama_experiments.tasks.classification import SequenceClassification

        task = self.experiment.task
        if not isinstance(task, SequenceClassification):
            return task
        return dataclasses.replace(task, labels=class_names(self.run.folder))

    def rows(self, *parts: str) -> dict[str, Rows]:
        """Parts of the data set as the run's task reads them.

        Raises:
            UserError: what is wrong with the source, or with a label.
        """
        from llama_experiments.data.rows import load_rows, named_classes
        from llama_experiments.tasks.classification import SequenceClassification

        task, dataset = self.bound(), self.experiment.dataset
        wrong = [f"dataset.{part}: {said}" for part, said in dataset.problems() if part in _sources(dataset, parts)]
        if wrong:
            raise UserError("\n".join(wrong))
        rows = load_rows(dataset, self.experiment.task, parts)
        if isinstance(task, SequenceClassification) and dataset != self.own.dataset:
            rows = {part: named_classes(these, dataset.labels, task.names) for part, these in rows.items()}
        return {part: task.prepared(these) for part, these in rows.items()}

    def load(self, *, hashes: bool = False) -> Trained:
        """The weights, the tokenizer, and the task as it met them.

        Args:
            hashes: whether to hash the starting weights, which reads all of them.

        Raises:
            UserError: something of it is not there any more.
        """
        with importing():
            from llama_experiments.models.base import cast_as_stored, cast_parameters, check_length
            from llama_experiments.models.hashes import tensor_hashes, weights_hash
            from llama_experiments.tasks.task_model import TaskModel
            from llama_experiments.training.device import frozen_dtype, make_accelerator

        experiment, technique = self.experiment, self.own.technique
        accelerator = make_accelerator(experiment.training, experiment.model.width())
        task, training_rows = self._adapted()
        loaded = self._loaded(task)
        model, positions = loaded.model, loaded.model.config.max_position_embeddings
        check_length(positions, task)
        task = task.meet(loaded.tokenizer, positions)
        if training_rows is not None:
            from llama_experiments.data.tokenized import encode

            cache = Path(experiment.output_dir) / "cache"
            task = task.seen(encode(training_rows, task, loaded.tokenizer, cache))
        frozen, starting = frozen_dtype(experiment.model.dtype, accelerator), None
        if self.weights == "model":
            if "adapter" not in technique.saved():
                model = technique.adapt_model(model, experiment.seed)  # which tensors are frozen
            cast_parameters(model, frozen)
            if frozen is None:
                cast_as_stored(model, self.run.folder.model)
        else:
            model = technique.adapt_model(model, experiment.seed)
            cast_parameters(model, frozen)
            starting = weights_hash(tensor_hashes(model)) if hashes else None
            if self.weights:
                technique.restore(model, self.run.folder.path)
        model.eval()
        task_model = accelerator.prepare_model(TaskModel(model, task), evaluation_mode=True)
        packed = experiment.training.packs(model.config._attn_implementation)
        return Trained(task, model, task_model, loaded.tokenizer, accelerator, packed, starting)

    def _loaded(self, task: Task) -> Loaded:
        """Tokenizer and model: what was saved whole, else what training started from."""
        from llama_experiments.hub import stay_offline_when_unreachable
        from llama_experiments.models.checkpoint import Checkpoint

        experiment = self.experiment
        model: Model = experiment.model
        if self.weights == "model":
            saved = str(self.run.folder.model.absolute())
            model = Checkpoint(checkpoint=saved, attention=model.attention, dtype=model.dtype)
            return model.load(task, experiment.seed)
        problems = [f"model.{name}: {said}" for name, said in model.problems()]
        problems += [f"technique.{name}: {said}".replace(".:", ":") for name, said in self.own.technique.problems({})]
        if problems:
            raise UserError("\n".join(problems))
        if model.needs_hub:
            stay_offline_when_unreachable()
        return model.load(task, experiment.seed, self.own.technique.quantization())

    def _adapted(self) -> tuple[Task, Rows | None]:
        """The task as the technique poses it, and the training rows where it needs to see them again.

        Raises:
            UserError: it needs the run's training rows, and these are gone or others.
        """
        task, technique, seed = self.bound(), self.own.technique, self.own.seed
        if technique.trains:
            return technique.adapt_task(task, {}, seed), None
        rows = _WhenAsked(self)
        adapted = technique.adapt_task(task, cast("dict[str, Rows]", rows), seed)
        learns = type(adapted).seen is not Task.seen  # how often things occur in training
        return adapted, rows["train"] if learns else None

    def _own_rows(self) -> dict[str, Rows]:
        """The run's rows of all parts, as its technique saw them.

        Raises:
            UserError: they are not what they were.
        """
        from llama_experiments.data.hygiene import check_rows

        dataset = dataclasses.replace(self.own.dataset, near_duplicates="none")  # which only a report is made of
        experiment = dataclasses.replace(self.own, dataset=dataset)
        own = Replayed(self.run, experiment, experiment)
        rows, _ = check_rows(own.rows(*dataset.parts), self.bound(), dataset)
        for part, told in self.run.environment()["data"].items():
            if rows[part].content_hash != told["hash"]:
                raise UserError(
                    f"dataset.{part}: {rows[part].where} has changed since the run, which needs its training rows: "
                    f"the examples that it shows the model cannot be drawn again"
                )
        return rows

    def _check_weights(self) -> None:
        """Raises UserError where weights were trained and are not there."""
        if self.weights or not self.own.technique.trains:
            return
        where = f"{show(self.run.folder.path)} has no trained weights"
        if self.own.training.save_model == "none":
            raise UserError(
                f"{where}: it ran with training.save_model=none; `reproduce RUN training.save_model=best` makes them"
            )
        wanted = " or ".join(f"{name}/" for name in self.own.technique.saved())
        ended = self.run.state().told
        raise UserError(f"{where}: there is no {wanted} in it, and it {ended}")


class _WhenAsked:
    """The run's rows, read when somebody looks at them: without solved examples nobody does."""

    def __init__(self, replayed: Replayed) -> None:
        self._replayed, self._rows = replayed, dict[str, "Rows"]()

    def _all(self) -> dict[str, Rows]:
        self._rows = self._rows or self._replayed._own_rows()
        return self._rows

    def __getitem__(self, part: str) -> Rows:
        return self._all()[part]

    def __iter__(self) -> Any:
        return iter(self._all())


def _sources(dataset: Any, parts: Sequence[str]) -> set[str]:
    """The settings from which these parts are read."""
    return {"train" if part == "validation" and dataset.holds_out else part for part in parts}
