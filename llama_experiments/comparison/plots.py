"""All curves of a comparison in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llama_experiments.runs.plots import INK, save

if TYPE_CHECKING:
    from llama_experiments.comparison.report import Comparison

NAMED = 12  # runs in a legend


def plot_comparison(comparison: Comparison, file: Path) -> None:
    """Left: both losses by epoch. Right: the metric, with its interval where there is one."""
    runs = comparison.runs
    figure = Figure(figsize=(12, max(4.2, 1.2 + 0.3 * len(runs))), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, run in enumerate(runs):
        color = colormaps["viridis"](0.9 * place / max(1, len(runs) - 1))
        for curve, style in (("eval_loss", "o-"), ("train_loss", ":")):
            points = [
                (epoch["epoch"], epoch[curve]) for epoch in run.run.epochs() if isinstance(epoch.get(curve), float)
            ]
            if points:
                named = comparison.names[place] if curve == "eval_loss" and len(runs) <= NAMED else None
                left.plot(*zip(*points, strict=True), style, color=color, linewidth=1.5, markersize=3, label=named)
        if comparison.intervals is not None:
            interval = comparison.intervals[place]
            right.plot([interval.low, interval.high], [place, place], color=color, linewidth=2.5, alpha=0.6)
        right.plot(run.scores().mean, place, "o", color=color)
    item, metric = runs[0].result.item, runs[0].result.metric.replace("_", " ")
    left.set(xlabel="epoch", ylabel=f"loss (nats per {item})")
    left.set_title("evaluation (solid) and training loss (dotted)", loc="left", fontsize=10, color=INK)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    if left.get_legend_handles_labels()[0]:  # of many runs, or of some that left no epoch, none is named
        left.legend(frameon=False, fontsize=8)
    right.set_yticks(range(len(runs)), comparison.names, fontsize=8)
    right.invert_yaxis()
    right.set(xlabel=metric)
    right.set_title(f"{metric} of the kept epoch, 95% interval", loc="left", fontsize=10, color=INK)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, file)
