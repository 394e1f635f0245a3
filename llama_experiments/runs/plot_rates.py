"""The picture of the learning rates: by step, and at their peak by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from llama_experiments.runs import plots

if TYPE_CHECKING:
    from llama_experiments.techniques.base import ParameterGroup
    from llama_experiments.training.settings import Training

POINTS = 400  # of a line at most
LONG_RANGE = 10.0  # highest over lowest peak from which on a linear axis shows only the highest
BELOW = 20.0  # on an axis of orders of magnitude, how far below its peak the slowest group is followed to the end


def worth_drawing(groups: Sequence[ParameterGroup], training: Training) -> bool:
    """Whether there is more to see than one rate and its schedule."""
    return bool(groups) and (len({group.multiplier for group in groups}) > 1 or training.warmup_ratio > 0)


def plot_rates(groups: Sequence[ParameterGroup], training: Training, steps: int, file: Path) -> None:
    """Each group's rate by step on the left; on the right its peak, in the same colour, which names the lines.

    Groups of one rate lie on one line and have one colour.
    """
    names = [group.name for group in groups]
    peaks = np.array([training.learning_rate * group.multiplier for group in groups])
    colours = _colours(peaks)
    figure = Figure(
        figsize=(9.4 if len(groups) > 1 else 7.2, max(3.8, 1.1 + 0.16 * len(groups))), dpi=130, layout="constrained"
    )
    if len(groups) > 1:
        by_step, by_group = figure.subplots(1, 2, width_ratios=[3, 2])
        _draw_peaks(by_group, names, peaks, colours)
    else:
        by_step = figure.subplots()
    at = _drawn_steps(training, steps)
    factors = np.array([training.rate_factor(int(step), steps) for step in at])
    size = 3 if steps <= 40 else 0
    for name, peak, colour in zip(names, peaks, colours, strict=True):
        rates = peak * factors
        by_step.plot(at + 1, rates, "o-", color=colour, linewidth=1.6, markersize=size, label=name)
    if _spans_much(peaks):
        by_step.set_yscale("log")
        by_step.set_ylim(_lowest(peaks) / BELOW, peaks.max() * 1.5)
    else:
        by_step.set_ylim(0, peaks.max() * 1.08)
        by_step.yaxis.set_major_locator(MaxNLocator(nbins=6))
        by_step.yaxis.set_major_formatter("{x:g}")
    by_step.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    by_step.xaxis.set_major_formatter("{x:,.0f}")
    by_step.set(xlabel="step", ylabel="learning rate")
    _dress(by_step, "by step", "y")
    plots.save(figure, file)


def _draw_peaks(axes: Axes, names: list[str], peaks: np.ndarray, colours: list[str]) -> None:
    """A dot a group, the first on top."""
    places = np.arange(len(names))
    axes.hlines(places, 0, peaks, colors=colours, linewidth=1.6, alpha=0.6)
    axes.scatter(peaks, places, color=colours, s=24, zorder=3)
    axes.set_yticks(places, names, fontsize=9.0 if len(names) <= 24 else 7.5, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    if _spans_much(peaks):
        axes.set_xscale("log")
        axes.set_xlim(_lowest(peaks) / 1.5, peaks.max() * 1.5)
        axes.xaxis.set_minor_formatter(NullFormatter())
        if peaks.max() < LONG_RANGE**2 * _lowest(peaks):  # a power of ten or two, and nothing between them
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.set_xlim(0, peaks.max() * 1.08)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="learning rate")
    _dress(axes, "at its peak", "x")


def _drawn_steps(training: Training, steps: int) -> np.ndarray:
    """Steps, from 0: as many as there is room for, and the corner at the end of the warm-up."""
    corner = math.ceil(training.warmup_ratio * steps)
    spread = np.linspace(0, steps - 1, min(steps, POINTS)).round().astype(int)
    return np.unique([*spread, *(step for step in (corner - 1, corner) if 0 <= step < steps)])


def _colours(peaks: np.ndarray) -> list[str]:
    """A colour for each rate, the lower the darker."""
    rates, of_group = np.unique(peaks, return_inverse=True)
    shades = colormaps["viridis"](np.linspace(0.0, 0.8, len(rates)))
    return [to_hex(shades[index]) for index in of_group]


def _lowest(peaks: np.ndarray) -> float:
    """The lowest that has a logarithm: decay over many layers may end at 0."""
    return float(peaks[peaks > 0].min())


def _spans_much(peaks: np.ndarray) -> bool:
    return bool(peaks.max() >= LONG_RANGE * _lowest(peaks))


def _dress(axes: Axes, title: str, grid: Literal["x", "y"]) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=plots.INK)
    axes.grid(axis=grid, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
