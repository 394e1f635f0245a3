"""`result.json`: what came of a run and what it cost, for tables of several runs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from llama_experiments.files import read_json, write_text
from llama_experiments.runs.folder import RunFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run needed."""

    technique: str  # its choice of the group, or the class's own name
    learning_rate: float | None  # at its peak; None where nothing is trained
    parameters: int
    trainable_parameters: int
    peak_memory_growth: int | None  # bytes over the loaded model; None where the system cannot tell
    evaluation_tokens: int  # of one evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A run in numbers."""

    task: str
    technique: str
    epoch: int  # whose evaluation this is: of the lowest loss since training began
    eval_loss: float | str  # nats per item; a word where it is no number
    item: str
    items: int  # that the loss is a mean over; losses over other items are not set side by side
    metrics: dict[str, Any]
    metric: str  # the one by which runs are compared: one of the metrics, or loss
    higher_is_better: bool  # of that metric
    learning_rate: float | None
    parameters: int
    trainable_parameters: int
    peak_memory_growth: int | None
    seconds: float  # of all epochs, evaluation included; without loading
    tuning_seconds: float  # of the attempts before
    tokens_per_second: float  # trained on, of training alone; evaluated, where nothing is trained

    def write(self, folder: RunFolder) -> None:
        """Leave it in the run's folder."""
        write_text(folder.result, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def read_result(folder: RunFolder) -> Result:
    """The result that a finished run left.

    Raises:
        UserError: the file is damaged, or of a version with other fields.
    """
    from llama_experiments.runs.written import as_written

    return as_written(read_json(folder.result), Result, folder.result)
