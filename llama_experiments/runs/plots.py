"""What a person would rather look at: the losses by epoch, and which classes are taken for which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llama_experiments.files import replaced

TRAIN, EVALUATION, INK = "#b4552d", "#1f5a8a", "#333333"


def plot_curves(epochs: list[dict[str, Any]], title: str, file: Path) -> None:
    """Both losses by epoch, the lowest evaluation loss marked."""
    figure = Figure(figsize=(7.2, 4.4), dpi=130, layout="constrained")
    axes: Axes = figure.subplots()
    for key, label, color in (
        ("train_loss", "training loss", TRAIN),
        ("eval_loss", "evaluation loss", EVALUATION),
    ):
        points = [(record["epoch"], record[key]) for record in epochs if isinstance(record[key], float)]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=5, linewidth=2, label=label, color=color)
    evaluated = [record for record in epochs if isinstance(record["eval_loss"], float)]
    if evaluated:
        best = min(evaluated, key=lambda record: record["eval_loss"])
        axes.annotate(
            f"{best['eval_loss']:.4f}",
            (best["epoch"], best["eval_loss"]),
            xytext=(0, -14),
            textcoords="offset points",
            ha="center",
            color=EVALUATION,
        )
    axes.margins(y=0.15)
    axes.set_xticks([record["epoch"] for record in epochs] if len(epochs) <= 20 else axes.get_xticks())
    axes.set(xlabel="epoch", ylabel="loss (nats an item)")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, file)


def plot_confusion(labels: list[str], predictions: list[str], names: list[str], file: Path) -> None:
    """Rows: the label; columns: the prediction; each cell its count and its share of the row."""
    index = {name: position for position, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for label, prediction in zip(labels, predictions, strict=True):
        counts[index[label], index[prediction]] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.6 + 0.9 * len(names)
    figure = Figure(figsize=(size + 0.8, size), dpi=130, layout="constrained")
    axes: Axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
            color = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", color=color)
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="prediction", ylabel="label")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the label's rows")
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    with replaced(file) as beside:
        figure.savefig(beside, format="png")
