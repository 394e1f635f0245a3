"""`report.md`: a run on one page, its result first."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llama_experiments.files import write_text
from llama_experiments.runs.console import chosen, number, words
from llama_experiments.runs.folder import RunFolder
from llama_experiments.tasks.base import Sample
from llama_experiments.tasks.class_metrics import confusion


def write_report(
    folder: RunFolder,
    facts: dict[str, str],
    epochs: list[dict[str, Any]],
    saved: int | None,
    item: str,
    overrides: list[str],
    sections: Sequence[Sequence[str]] = (),
    test: dict[str, Any] | None = None,
    headline: Collection[str] | None = None,
) -> str:
    """Write the report from the journal's records; returns what of it can be read outside the folder.

    Args:
        facts: what the header said.
        saved: the epoch whose weights are in `model/` and whose predictions were kept.
        item: what the losses are means over.
        overrides: of the command.
        sections: further ones, each as lines of Markdown.
        test: the record of the test part.
        headline: the metrics that are told, where that is not all.
    """
    epochs = [{**record, "metrics": chosen(record["metrics"], headline)} for record in epochs]
    test = {**test, "metrics": chosen(test["metrics"], headline)} if test else None
    best = best_epoch(epochs)
    summary = [
        *([_result(best, epochs), ""] if best else []),
        *([_test_result(test), ""] if test else []),
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
        (folder.hygiene, "what was found in the rows before the first step"),
        (folder.lengths, "tokens of the rows"),
        (folder.predictions, f"the evaluation rows as epoch {saved} predicted them"),
        (folder.test, "loss and metrics of the test part"),
        (folder.test_predictions, f"the test rows as epoch {saved} predicted them"),
        (folder.adapter, f"epoch {saved}'s adapter, for peft's PeftModel.from_pretrained"),
        (folder.model, f"epoch {saved}'s weights, for transformers' from_pretrained"),
        (folder.result, "the result and its cost, for tables of several runs"),
        (folder.movement, "every tensor's hash before and after training"),
        (folder.tuning, "the learning rates that were tried first"),
        (folder.rates, "the learning rate of each group by step"),
        (folder.epochs, "the journal, a line an epoch"),
        (folder.steps, "the journal, a line a step"),
        (folder.samples, "what the model wrote after each evaluation"),
        (folder.environment, "versions, git commit, device, hashes of data and starting weights"),
        (folder.hydra, "the composed config and the overrides"),
    ]
    return [(f"{path.name}/" if path.is_dir() else path.name, what) for path, what in told if path.exists()]


def as_read_section(example: str) -> list[str]:
    """An example in full, as lines of Markdown."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", example)), default=0))
    return ["## The first evaluation row, as the model reads it", "", f"{fence}text", example, fence]


def samples_by_prompt(samples: Mapping[int, Sequence[Sample]]) -> list[str]:
    """What the model wrote, as lines of Markdown: under each prompt its continuations by epoch."""
    lines = ["## What the model wrote", ""]
    prompts = dict.fromkeys(sample.prompt for written in samples.values() for sample in written)
    for prompt in prompts:
        lines += [_quoted(prompt), ""]
        for epoch, written in samples.items():
            lines += [f"- epoch {epoch}: {_plain(one.continuation)}" for one in written if one.prompt == prompt]
        lines.append("")
    return lines[:-1]


def class_table(
    predictions: Mapping[str, Sequence[str]], names: Sequence[str], epoch: dict[str, Any], headline: Collection[str]
) -> list[str]:
    """Each class's precision and recall and what else is known of an epoch's predictions, as lines of Markdown."""
    index = {name: place for place, name in enumerate(names)}
    labels, predicted = (
        np.array([index[name] for name in predictions[key]], dtype=np.int64) for key in ("label", "prediction")
    )
    counts = confusion(labels, predicted, len(names))
    lines = [f"## Classes, as epoch {epoch['epoch']} predicted them", ""]
    lines += ["| class | rows | predicted | precision | recall |", "|---|---:|---:|---:|---:|"]
    for name, label, rows, said in zip(names, counts, counts.sum(axis=1), counts.sum(axis=0), strict=True):
        precision, recall = (number(float(label[index[name]] / total)) if total else "--" for total in (said, rows))
        lines.append(_row([_plain(name), f"{rows:,}", f"{said:,}", precision, recall]))
    by_class = [f"{what}_{name}" for name in names for what in ("precision", "recall")]
    others = [name for name in epoch["metrics"] if name not in (*headline, *by_class)]
    told = ", ".join(f"{words(name)} {number(epoch['metrics'][name])}" for name in others)
    return [*lines, "", f"{told[:1].upper()}{told[1:]}."] if told else lines


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


def _test_result(test: dict[str, Any]) -> str:
    metrics = "".join(f", {words(name)} {number(value)}" for name, value in test["metrics"].items())
    return (
        f"On the test part, on which nothing was chosen, epoch {test['epoch']}'s weights have a loss of "
        f"**{number(test['test_loss'])}**{metrics}."
    )


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


def _quoted(text: str) -> str:
    """A text as a quotation in Markdown, its lines kept."""
    return "\n".join(f"> {_plain(line)}  " for line in text.strip().splitlines() or [""])


def _plain(text: str) -> str:
    """A text in one line in which no sign means anything to Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split())) or "(nothing)"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
