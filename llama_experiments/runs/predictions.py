"""The table of an evaluation's predictions, a row an example: what runs are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_experiments.data.examples import Examples
from llama_experiments.errors import UserError
from llama_experiments.files import replaced
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.written import read_names
from llama_experiments.tasks.base import Task
from llama_experiments.training.evaluation import Evaluation


def write_predictions(file: Path, task: Task, evaluation: Evaluation, examples: Examples) -> None:
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


def read_predictions(file: Path) -> dict[str, list[Any]]:
    """The table's columns; empty where there is none."""
    import pyarrow.parquet as pq

    return dict(pq.read_table(file).to_pydict()) if file.exists() else {}


def class_names(folder: RunFolder) -> list[str]:
    """A run's classes in their order: from the columns of its predictions, or the saved model's config.

    Raises:
        UserError: it has neither, or they are damaged.
    """
    from llama_experiments.models.checkpoint_files import model_config

    if folder.predictions.exists():
        prefix = "probability_"
        columns = read_names(folder.predictions)
        if names := [name.removeprefix(prefix) for name in columns if name.startswith(prefix)]:
            return names
    if folder.model.is_dir():
        named = model_config(folder.model)["id2label"]
        return [named[index] for index in sorted(named, key=int)]
    raise UserError(f"{show(folder.path)} has neither predictions.parquet nor model/, which tell its classes")
