"""What a person would rather look at: the losses by epoch, and which classes are taken for which."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from PIL import Image

from llama_experiments.data.hygiene import Lengths
from llama_experiments.files import replaced
from llama_experiments.sharing import shared

TRAIN, EVALUATION, INK = "#b4552d", "#1f5a8a", "#333333"
LONG_RANGE = 100.0  # highest over lowest loss from which on a linear axis shows only the highest
PART_NAMES = {"train": "training", "validation": "evaluation"}
LONGEST_NAME = 28  # characters of a class's name


def plot_curves(epochs: list[dict[str, Any]], title: str, file: Path, item: str = "item") -> None:
    """Both losses by epoch, in nats per `item`, the lowest evaluation loss ringed and told."""
    figure = Figure(figsize=(7.2, 4.6), dpi=130, layout="constrained")
    axes: Axes = figure.subplots()
    shown: list[float] = []
    for key, label, color, place in (
        ("train_loss", "training loss", TRAIN, 1),
        ("eval_loss", "evaluation loss", EVALUATION, 2),
    ):
        points = [(record["epoch"], record[key]) for record in epochs if _is_number(record[key])]
        if not points:
            continue
        if key == "eval_loss":
            best = min(points, key=lambda point: point[1])
            axes.plot(*best, "o", markersize=12, markerfacecolor="none", markeredgecolor=color, zorder=place)
            label += f" (lowest {best[1]:.4f}, epoch {best[0]})"
        size = 5 if len(epochs) <= 40 else 0
        at, losses = zip(*points, strict=True)
        axes.plot(at, losses, "o-", markersize=size, linewidth=2, label=label, color=color, zorder=place)
        shown += losses
    if shown and min(shown) > 0 and max(shown) / min(shown) >= LONG_RANGE:
        axes.set_yscale("log")
    first, last = epochs[0]["epoch"], epochs[-1]["epoch"]
    side = 0.04 * (last - first) or 0.5
    axes.set_xlim(first - side, last + side)  # an epoch whose loss is no number has its place, too
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=f"loss (nats per {item})")
    axes.set_title(textwrap.fill(title, 78), loc="left", fontsize=11, color=INK, pad=24, parse_math=False)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if shown:  # above the axes, where no curve runs
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderaxespad=0.2)
    else:
        axes.text(0.5, 0.5, "no loss is a number", ha="center", transform=axes.transAxes)
    save(figure, file)


def plot_confusion(labels: list[str], predictions: list[str], names: list[str], file: Path) -> None:
    """Rows: the label; columns: the prediction; each cell its count and its share of the row."""
    index = {name: position for position, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for label, prediction in zip(labels, predictions, strict=True):
        counts[index[label], index[prediction]] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = [_shortened(name) for name in names]
    longest = max(map(len, shown))
    cell = min(0.9, 10 / len(names))  # inches
    side = cell * len(names)
    figure = Figure(figsize=(side + 0.09 * longest + 1.8, side + 0.07 * longest + 1.0), dpi=130, layout="constrained")
    axes: Axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = min(10.0, 24 * cell)  # points
    for row, column in np.ndindex(*counts.shape) if cell >= 0.3 else ():
        count, share = counts[row, column], shares[row, column]
        text = f"{count:,}\n{share:.0%}" if cell > 0.5 else f"{share:.0%}"
        color = "white" if share > 0.55 else INK
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
    size = min(10.0, 55 * cell)
    slant: dict[str, Any] = {}
    if longest > 11 * cell:
        slant = {"rotation": 40 if cell >= 0.3 else 90, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), shown, fontsize=size, parse_math=False, **slant)
    axes.set_yticks(range(len(names)), shown, fontsize=size, parse_math=False)  # a $ in a name is a $
    axes.set(xlabel="prediction", ylabel="label")
    right = int(np.trace(counts))
    axes.set_title(f"{right:,} of {len(labels):,} right ({right / max(len(labels), 1):.1%})", fontsize=11, color=INK)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the label's rows", format=PercentFormatter(1.0))
    save(figure, file)


def plot_lengths(parts: dict[str, Lengths], max_length: int, file: Path) -> None:
    """How many rows of each part have how many tokens, before they are cut, with the length at which they are."""
    figure = Figure(figsize=(7.2, 3.8), dpi=130, layout="constrained")
    axes: Axes = figure.subplots()
    edges = np.array(next(iter(parts.values())).histogram["edges"], dtype=float)
    width, tail = edges[1], edges[-2]
    last = f" (the last bar: {tail:,.0f} and more)" if edges[-1] - tail > width else ""
    edges[-1] = tail + width
    for name, color, style in zip(parts, (TRAIN, EVALUATION, INK), ("-", "--", ":"), strict=False):
        rows = np.array(parts[name].histogram["rows"], dtype=float)
        label = f"{PART_NAMES.get(name, name)} (median {parts[name].median:,}, longest {parts[name].longest:,})"
        axes.stairs(rows / rows.sum(), edges, label=label, color=color, linestyle=style, linewidth=1.6)
        axes.stairs(rows / rows.sum(), edges, fill=True, color=color, alpha=0.18)
    if max_length <= edges[-1] * 1.2:
        axes.axvline(max_length, color=INK, linewidth=1)
        right = max_length > edges[-1] / 2
        axes.annotate(
            f"max_length {max_length:,}",
            (max_length, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if right else 4, -4),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            color=INK,
        )
    axes.set(xlabel=f"tokens of a row, before it is cut{last}", ylabel="share of the rows")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.08)  # room for what is written beside the line
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, fontsize=9, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderaxespad=0.2)
    save(figure, file)


def _shortened(name: str) -> str:
    """Cut out of the middle: names of classes often begin alike."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def _is_number(loss: Any) -> bool:
    """A journal's 'inf' and 'nan' are words, and what was not evaluated is None."""
    return isinstance(loss, int | float) and math.isfinite(loss)


def drawn_once(draw: Callable[..., None], *told: Any, file: Path) -> None:
    """Draw what is `told` into `file`; other jobs of this process that tell the same are given the same picture."""

    def make() -> bytes:
        draw(*told, file)
        return file.read_bytes()

    picture = shared("pictures", (draw.__qualname__, repr(told)), make)
    if not file.exists():
        with replaced(file) as beside:
            beside.write_bytes(picture)


def save(figure: Figure, file: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Drawn once: `savefig` would lay the figure out in a drawing of its own before.
    """
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks
        canvas.draw()
    with replaced(file) as beside:
        Image.fromarray(np.asarray(canvas.buffer_rgba())).save(beside, "PNG", dpi=(figure.dpi, figure.dpi))
