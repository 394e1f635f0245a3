"""`report.md`: a run on one page, its result first."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_experiments.files import write_text
from llama_experiments.runs.console import number, words
from llama_experiments.runs.folder import RunFolder


def write_report(
    folder: RunFolder,
    facts: dict[str, str],
    epochs: list[dict[str, Any]],
    saved: int | None,
    item: str,
    overrides: list[str],
    sections: Sequence[Sequence[str]] = (),
) -> str:
    """Write the report from the journal's records; returns what of it can be read outside the folder.

    Args:
        facts: what the header said.
        saved: the epoch whose weights are in `model/` and whose predictions were kept.
        item: what the losses are means over.
        overrides: of the command.
        sections: further ones, each as lines of Markdown.
    """
    best = best_epoch(epochs)
    summary = [
        *([_result(best, epochs), ""] if best else []),
        *_table(epochs, best),
        "",
        f"Losses are nats per {item}; an epoch's training loss is the mean over it, while the weights move.",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
    ]
    lines = [f"# {folder.name}", "", *summary, "", "![both losses by epoch](curves.png)"]
    if folder.confusion.exists():
        lines += ["", "![label against prediction](confusion.png)"]
    for section in sections:
        lines += ["", *section]
    lines += ["", "## What is here", "", *(f"- [{name}]({name}): {what}" for name, what in contents(folder, saved))]
    given = [f"The settings given were `{shlex.join(overrides)}`.", ""] if overrides else []
    again = shlex.join(["python", "-m", "llama_experiments", "--config-path", str(folder.hydra.resolve())])
    lines += ["", "## The same run again", "", *given, f"In `{Path.cwd()}`:", "", f"    {again}"]
    write_text(folder.report, "\n".join(lines) + "\n")
    return "\n".join(summary)


def contents(folder: RunFolder, saved: int | None) -> list[tuple[str, str]]:
    """What there is in a run's folder, in the order in which people look."""
    told = [
        (folder.report, "the run on one page"),
        (folder.curves, "both losses by epoch"),
        (folder.confusion, "label against prediction"),
        (folder.predictions, f"the evaluation rows as epoch {saved} predicted them"),
        (folder.model, f"epoch {saved}'s weights, for transformers' from_pretrained"),
        (folder.epochs, "the journal, a line an epoch"),
        (folder.steps, "the journal, a line a step"),
        (folder.environment, "versions, git commit, device, hashes of data and starting weights"),
        (folder.hydra, "the composed config and the overrides"),
    ]
    return [(f"{path.name}/" if path.is_dir() else path.name, what) for path, what in told if path.exists()]


def best_epoch(epochs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The record with the lowest evaluation loss; the journal's 'inf' and 'nan' are words."""
    evaluated = [record for record in epochs if isinstance(record["eval_loss"], float)]
    return min(evaluated, key=lambda record: record["eval_loss"], default=None)


def _result(best: dict[str, Any], epochs: list[dict[str, Any]]) -> str:
    metrics = "".join(f", {words(name)} {number(value)}" for name, value in best["metrics"].items())
    said = f"The lowest evaluation loss is **{number(best['eval_loss'])}**{metrics}, after epoch {best['epoch']}"
    first = epochs[0]
    if first["epoch"] > 0:
        return f"{said}."
    if best is first:
        return f"{said}: before any update."
    before = "".join(f", {words(name)} {number(value)}" for name, value in first["metrics"].items())
    return f"{said}; before any update it was {number(first['eval_loss'])}{before}."


def _table(epochs: list[dict[str, Any]], best: dict[str, Any] | None) -> list[str]:
    metrics = list(dict.fromkeys(name for record in epochs for name in record["metrics"]))
    columns = ["epoch", "training loss", "evaluation loss", *map(words, metrics), "seconds"]
    lines = [_row(columns), f"|{'---:|' * len(columns)}"]
    for record in epochs:
        cells = [record["train_loss"], record["eval_loss"], *(record["metrics"].get(name) for name in metrics)]
        shown = ["" if cell is None else number(cell) for cell in cells]
        shown = [str(record["epoch"]), *shown, number(record["seconds"], 1)]
        lines.append(_row([f"**{cell}**" if cell and record is best else cell for cell in shown]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
