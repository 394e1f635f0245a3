"""Prompting: no weight moves; the model is asked, after as many solved examples as wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.errors import UserError, check_settings
from llama_experiments.techniques.base import ParameterGroup, Save, Technique

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.base import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt(Technique):
    """Zero-shot or, with `shots`, few-shot: examples of the training rows stand solved before each row.

    They are drawn by the seed, as many of each class as of any other, and never one whose text is an evaluation
    row's. More of them by the same seed are the same ones and others.
    """

    name: ClassVar[str] = "prompting"
    trains: ClassVar[bool] = False

    shots: int = 0  # examples in all; those that do not fit are left out, the oldest first
    calibrate: bool = False  # classes: what the model says of no text at all is taken off (Zhao et al. 2021)
    separator: str = "\n\n"  # after each example of a class or an answer; documents end by themselves
    context: int | None = None  # tokens of a whole prompt at most; null: the model's positions

    def __post_init__(self) -> None:
        check_settings(
            ("shots", self.shots >= 0, f"must be 0 or a positive number, not {self.shots}"),
            ("context", self.context is None or self.context >= 2, "must be null or at least 2 tokens"),
        )

    def problems(self, shape: Mapping[str, Any] | None) -> list[tuple[str, str]]:
        positions = (shape or {}).get("max_position_embeddings")
        if self.context is None or not isinstance(positions, int) or self.context <= positions:
            return []
        return [("context", f"{self.context} tokens are more than the model's {positions} positions")]

    def adapt_task(self, task: Task, rows: Mapping[str, Rows], seed: int) -> Task:
        """The task as a prompt.

        Raises:
            UserError: there are too few rows to draw from, or the task cannot be asked so.
        """
        from llama_experiments.tasks.base import Prompting

        drawn = [rows["train"].table[at] for at in drawn_rows(task, rows, self.shots, seed)]
        return task.prompted(
            Prompting(demonstrations=drawn, separator=self.separator, calibrate=self.calibrate, context=self.context)
        )

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        return model.requires_grad_(False)

    def parameter_groups(self, model: PreTrainedModel) -> list[ParameterGroup]:
        return []

    def saved(self) -> dict[str, Save]:
        return {}


def drawn_rows(task: Task, rows: Mapping[str, Rows], shots: int, seed: int) -> list[int]:
    """`shots` of the training rows in a drawn order, with equally many of each class where there are classes.

    A text is drawn once at most. What is left over after equal shares goes to classes that the seed draws.

    Raises:
        UserError: there are too few.
    """
    import numpy as np

    if shots == 0:
        return []
    train, usable = rows["train"], _usable(task, rows)
    random = np.random.default_rng(seed)
    shuffled = random.permutation(usable)
    classes = list(task.class_sizes(train))
    if not classes:
        if shots > len(usable):
            raise UserError(f"technique.shots: {shots} examples are more than the {_rows(len(usable))}")
        return [int(at) for at in shuffled[:shots]]
    labels = np.asarray(train.table["label"][:])[shuffled]
    of_class = [shuffled[labels == index] for index in range(len(classes))]
    each, over = divmod(shots, len(classes))
    turns = sorted(random.permutation(len(classes)), key=lambda index: len(of_class[index]) <= each)
    wanted = [each + int(index in turns[:over]) for index in range(len(classes))]
    for name, number, found in zip(classes, wanted, of_class, strict=True):
        if number > len(found):
            raise UserError(
                f"technique.shots: {shots} examples are {number} of the class '{name}', which has {_rows(len(found))}"
            )
    drawn = np.concatenate([found[:number] for number, found in zip(wanted, of_class, strict=True)])
    return [int(at) for at in random.permutation(drawn)]


def _usable(task: Task, rows: Mapping[str, Rows]) -> np.ndarray:
    """The training rows whose text is no evaluation row's; of those with the same text the first."""
    import numpy as np

    from llama_experiments.data.fingerprints import fingerprints

    prints = {part: fingerprints(rows[part].table, task.content) for part in rows}
    elsewhere = np.concatenate([found for part, found in prints.items() if part != "train"])
    first = np.sort(np.unique(prints["train"], return_index=True)[1])
    return first[~np.isin(prints["train"][first], elsewhere)]


def _rows(number: int) -> str:
    return f"{number:,} training rows to draw from (texts of evaluation rows, and repeated ones, are left out)"
