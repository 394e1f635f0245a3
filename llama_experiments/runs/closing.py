"""The end of a run that went well: plots, result, report, the mirror's last artifacts, and where everything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_experiments.paths import show
from llama_experiments.runs.data_report import data_section
from llama_experiments.runs.predictions import read_predictions
from llama_experiments.runs.report import as_read_section, class_table, contents, samples_by_prompt, write_report
from llama_experiments.runs.result import Cost, Result

if TYPE_CHECKING:
    from llama_experiments.data.hygiene import Hygiene
    from llama_experiments.runs.console import Console
    from llama_experiments.runs.folder import RunFolder
    from llama_experiments.runs.history import History
    from llama_experiments.runs.mirror import Mirror
    from llama_experiments.runs.reference import Reference
    from llama_experiments.tasks.base import Task

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


def plot_tokens(hygiene: Hygiene, folder: RunFolder) -> None:
    """Draw how long the examples are."""
    from llama_experiments.runs.plots import drawn_once, plot_lengths

    lengths = {name: part.lengths for name, part in hygiene.parts.items() if part.lengths}
    drawn_once(plot_lengths, lengths, hygiene.max_length, file=folder.lengths)


def close_run(
    folder: RunFolder,
    history: History,
    task: Task,
    cost: Cost,
    reference: Reference | None,
    mirror: Mirror,
    console: Console,
) -> None:
    """Write what is read of a run when it is over."""
    from llama_experiments.runs.plots import plot_confusion, plot_curves

    if history.hygiene is not None:  # not before the first step, which would wait for the library of plots
        plot_tokens(history.hygiene, folder)
    plot_curves(history.epochs, folder.name, folder.curves, task.item)
    predictions = read_predictions(folder.predictions)
    names = getattr(task, "labels", None)
    if "prediction" in predictions and names:
        plot_confusion(predictions["label"], predictions["prediction"], names, folder.confusion)
    kept = history.kept
    assert kept is not None, "the last epoch is always evaluated"
    sections = [reference.table(history.epochs)] if reference else []
    if "prediction" in predictions and names:
        sections.append(class_table(predictions, names, kept, task.headline or ()))
    sections += history.learned
    sections += [as_read_section(history.shown)] if history.shown else []
    sections += [data_section(history.hygiene)] if history.hygiene else []
    sections += [samples_by_prompt(history.samples)] if history.samples else []
    _result(history, task, cost).write(folder)
    write_report(
        folder,
        history.facts,
        history.epochs,
        kept["epoch"],
        task.item,
        history.overrides,
        sections,
        history.test,
        task.headline,
    )
    mirror.finish("FINISHED")
    _say_where(folder, kept["epoch"], mirror, console)


def _result(history: History, task: Task, cost: Cost) -> Result:
    kept = history.kept
    assert kept is not None, "the last epoch is always evaluated"
    seconds = sum(record["seconds"] for record in history.epochs)
    trained = sum(record["tokens"] for record in history.epochs)
    timed = (trained, history.training_seconds) if trained else (cost.evaluation_tokens, seconds)
    return Result(
        task=task.name,
        epoch=kept["epoch"],
        eval_loss=kept["eval_loss"],
        item=task.item,
        items=kept["items"],
        metrics=kept["metrics"],
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        seconds=seconds,
        tuning_seconds=history.tuning_seconds,
        tokens_per_second=timed[0] / max(timed[1], 1e-9),
        **{name: value for name, value in vars(cost).items() if name != "evaluation_tokens"},
    )


def _say_where(folder: RunFolder, saved: int, mirror: Mirror, console: Console) -> None:
    say = console.line
    say()
    say(f"everything is in  {show(folder.path)}")
    told = [(name, what) for name, what in contents(folder, saved) if name in TOLD]
    width = max(len(name) for name, _ in told)
    for name, what in told:
        say(f"  {name:<{width}}  {what}")
    if mirror.failure is None:
        say(f"compare runs in MLflow:  {mirror.opened_by}")
    else:
        say("not mirrored to MLflow (see the warning above); the journal epochs.jsonl has everything")
