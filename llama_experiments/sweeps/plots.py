"""Pictures of several runs together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from llama_experiments.runs.plots import EVALUATION, INK, TRAIN, save

if TYPE_CHECKING:
    from llama_experiments.runs.result import Result
    from llama_experiments.sweeps.base import Job
    from llama_experiments.sweeps.ladder import Rung
    from llama_experiments.sweeps.transfer import Start

MOST_NAMED = 12  # jobs in a legend

Value = Callable[["Result"], "float | None"]


def plot_ladder(rungs: Sequence[Rung], file: Path) -> None:
    """A row a technique, the first on top; a panel for what it reaches and for each of its costs."""
    from llama_experiments.sweeps.ladder import scores_the_same

    first = rungs[0].job.result
    panels: list[tuple[str, Value, bool]] = [
        (
            f"loss (nats per {first.item})",
            lambda r: r.eval_loss if scores_the_same(r, first) and isinstance(r.eval_loss, float) else None,
            False,
        ),
        ("parameters trained", lambda r: r.trainable_parameters or None, True),
        (
            "peak memory (MiB)",
            lambda r: None if r.peak_memory_growth is None else r.peak_memory_growth / 2**20,
            False,
        ),
        ("seconds, tuning included", lambda r: r.seconds + r.tuning_seconds, True),
        ("tokens/s", lambda r: r.tokens_per_second, True),
    ]
    figure = Figure(figsize=(15, 1.5 + 0.42 * len(rungs)), dpi=130, layout="constrained")
    axes = list(figure.subplots(1, 1 + len(panels), sharey=True, width_ratios=[2, *[1] * len(panels)]))
    places = range(len(rungs))
    for place, rung in enumerate(rungs):
        color = EVALUATION if rung.as_good else INK
        axes[0].plot([rung.metric.low, rung.metric.high], [place, place], color=color, linewidth=2.5, alpha=0.6)
        axes[0].plot(rung.metric.value, place, "o", color=color, markersize=7)
        axes[0].annotate(
            f"{rung.metric.value:.3f}",
            (rung.metric.value, place),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=color,
        )
    name = first.metric.replace("_", " ")
    axes[0].set_title(f"{name}, 95% interval (blue: not told from the best)", fontsize=9, loc="left", color=INK)
    axes[0].set_yticks(places, [rung.name for rung in rungs])
    axes[0].set_ylim(len(rungs) - 0.4, -0.7)
    for panel, (title, value, logarithmic) in zip(axes[1:], panels, strict=True):
        values = [value(rung.job.result) for rung in rungs]
        _bars(panel, values, logarithmic)
        panel.set_title(title, fontsize=9, loc="left", color=INK)
    for panel in axes:
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize=8)
    save(figure, file)


def _bars(axes: Axes, values: Sequence[float | None], logarithmic: bool) -> None:
    """Bars, each with its number; nothing where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return
    if logarithmic and min(known) > 0 and max(known) / min(known) > 20:
        axes.set_xscale("log")
        axes.set_xlim(min(known) / 3, max(known) * 6)
    else:
        axes.set_xlim(0, max(known) * 1.35 or 1)
        axes.xaxis.set_major_locator(MaxNLocator(3))
    for place, value in enumerate(values):
        if value is None:
            axes.annotate("--", (axes.get_xlim()[0], place), xytext=(3, -3), textcoords="offset points", color=INK)
            continue
        axes.barh(place, value, height=0.5, color=TRAIN, alpha=0.75)
        axes.annotate(_short(value), (value, place), xytext=(3, -3), textcoords="offset points", fontsize=8)


def plot_transfer(starts: Sequence[Start], item: str, file: Path) -> None:
    """Left: the lowest loss against training rows, of each start. Right: loss against seconds at the most rows."""
    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    for start, color in zip(starts, (EVALUATION, TRAIN, INK), strict=False):
        rows, losses = zip(*sorted(start.lowest.items()), strict=True)
        left.plot(rows, losses, "o-", color=color, linewidth=2, label=start.name)
        seconds, path = zip(*start.path, strict=True)
        right.plot(seconds, path, "o-", color=color, linewidth=2, label=start.name)
    left.set_xscale("log")
    left.set_xticks(sorted(starts[0].lowest), [f"{rows:,}" for rows in sorted(starts[0].lowest)])
    left.minorticks_off()
    left.set(xlabel="training rows", ylabel=f"lowest evaluation loss (nats per {item})")
    left.set_title("loss at equal data, data to equal loss", loc="left", fontsize=10, color=INK)
    most = max(starts[0].lowest)
    right.set(xlabel="seconds of training and evaluation", ylabel=f"evaluation loss (nats per {item})")
    right.set_title(f"time to a given loss, {most:,} rows", loc="left", fontsize=10, color=INK)
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    save(figure, file)


def plot_sweep(jobs: Sequence[Job], swept: Mapping[str, Sequence[Any]], file: Path) -> None:
    """Left: the evaluation loss by what was swept. Right: both losses of each job by epoch."""
    figure = Figure(figsize=(12, 4.8), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    key = "training.learning_rate" if "training.learning_rate" in swept else next(iter(swept), None)
    values: list[Any] = list(swept[key]) if key else [job.folder.name for job in jobs]
    losses = [job.result.eval_loss if isinstance(job.result.eval_loss, float) else math.nan for job in jobs]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numbers and len(jobs) > 1:
        others = [tuple(row[place] for name, row in swept.items() if name != key) for place in range(len(jobs))]
        for other in dict.fromkeys(others):  # a line for each setting of the rest
            line = sorted((values[at], losses[at]) for at in range(len(jobs)) if others[at] == other)
            told = ", ".join(str(value) for value in other)
            left.plot(*zip(*line, strict=True), "o-", linewidth=1.5, label=told or None)
        if others[0] and len(set(others)) <= MOST_NAMED:
            left.legend(frameon=False, fontsize=8)
        if min(values) > 0 and max(values) / min(values) > 5:
            left.set_xscale("log")
    else:
        left.plot(losses, range(len(jobs)), "o", color=EVALUATION)
        left.set_yticks(range(len(jobs)), [str(value) for value in values], fontsize=8)
        left.invert_yaxis()
    name = (key or "job").rpartition(".")[2].replace("_", " ")
    loss = f"evaluation loss (nats per {jobs[0].result.item})"
    left.set(**({"xlabel": name, "ylabel": loss} if numbers and len(jobs) > 1 else {"xlabel": loss}))
    left.set_title(f"evaluation loss by {name}", loc="left", fontsize=10, color=INK)
    colors = colormaps["viridis"]
    for place, job in enumerate(jobs):
        color = colors(0.9 * place / max(1, len(jobs) - 1))
        epochs = job.epochs()
        for curve, style in (("eval_loss", "-"), ("train_loss", ":")):
            points = [(epoch["epoch"], epoch[curve]) for epoch in epochs if isinstance(epoch[curve], float)]
            if points:
                named = _label(values[place]) if curve == "eval_loss" and len(jobs) <= MOST_NAMED else None
                right.plot(*zip(*points, strict=True), style, color=color, linewidth=1.5, label=named)
    right.set(xlabel="epoch", ylabel=f"loss (nats per {jobs[0].result.item})")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_title("evaluation (solid) and training loss (dotted)", loc="left", fontsize=10, color=INK)
    if len(jobs) <= MOST_NAMED:
        right.legend(frameon=False, fontsize=8, title=name, title_fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, file)


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    """A number in few digits: 1.2M, 34k, 0.87."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
