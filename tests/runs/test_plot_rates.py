"""The picture of the rates: what is drawn is what the optimizer is given, and all that is written can be read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from llama_experiments.runs import plots
from llama_experiments.runs.plot_rates import plot_rates, worth_drawing
from llama_experiments.techniques.base import ParameterGroup
from llama_experiments.training.optimization import make_optimizer, set_rates
from llama_experiments.training.settings import Training

CPU = torch.device("cpu")
TITLES = ("by step", "at its peak")


def groups_of(layers: int, decay: float, head: float = 1.0) -> list[ParameterGroup]:
    """The groups that learning-rate adjustment makes, each of one small matrix."""
    rates = {"head": head, "final norm": 1.0}
    rates |= {f"layer {layer}": decay ** (layers - 1 - layer) for layer in reversed(range(layers))}
    rates["embeddings"] = decay**layers
    return [ParameterGroup(name, [torch.nn.Parameter(torch.zeros(2, 2))], rate) for name, rate in rates.items()]


ALL = [ParameterGroup("all", [torch.nn.Parameter(torch.zeros(2, 2))])]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    saved: list[Figure] = []
    save = plots.save

    def keep(figure: Figure, file: Path) -> None:
        save(figure, file)
        saved.append(figure)

    monkeypatch.setattr(plots, "save", keep)
    return saved


def dots_of(axes: Axes) -> PathCollection:
    (dots,) = [one for one in axes.collections if isinstance(one, PathCollection)]
    return dots


def ticks_of(axis: Axis) -> list[Text]:
    """The labels of an axis that are within what is shown."""
    low, high = sorted(axis.get_view_interval())
    return [
        label
        for minor in (False, True)
        for at, label in zip(axis.get_ticklocs(minor=minor), axis.get_ticklabels(minor=minor), strict=True)
        if low <= at <= high and label.get_text()
    ]


def assert_readable(figure: Figure) -> None:
    """No text is cut off, and none lies on another."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [
        text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in (axis.label, *ticks_of(axis))
    ]
    texts += [title for axes in figure.axes for title in axes.findobj(Text) if title.get_text() in TITLES]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    width, height = figure.get_size_inches() * figure.dpi
    for position, (text, box) in enumerate(boxes):
        assert min(box.x0, box.y0) >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
        for other, another in boxes[position + 1 :]:
            wide = min(box.x1, another.x1) - max(box.x0, another.x0)
            high = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert wide < 1 or high < 1, f"{text!r} lies on {other!r}"


def training(**settings: Any) -> Training:
    return Training(**({"learning_rate": 1e-3, "warmup_ratio": 0.1} | settings))


@pytest.mark.parametrize(
    ("groups", "settings", "worth"),
    [
        (groups_of(2, 0.5), {"warmup_ratio": 0.0}, True),  # several rates
        (ALL, {"warmup_ratio": 0.1}, True),  # a warm-up
        (ALL, {"warmup_ratio": 0.0}, False),  # a schedule alone
        (groups_of(2, 1.0), {"warmup_ratio": 0.0}, False),  # groups of one rate
        ([], {"warmup_ratio": 0.1}, False),  # nothing moves
    ],
)
def test_when_there_is_something_to_see(groups: list[ParameterGroup], settings: dict[str, Any], worth: bool) -> None:
    assert worth_drawing(groups, training(**settings)) == worth


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_lines_are_the_optimizers_rates_by_step(schedule: Any, figures: list[Figure], tmp_path: Path) -> None:
    settings, groups, steps = training(schedule=schedule), groups_of(3, 0.7, head=2.0), 30
    plot_rates(groups, settings, steps, tmp_path / "rates.png")
    optimizer = make_optimizer(groups, settings, CPU)
    expected: dict[str, list[tuple[float, float]]] = {group.name: [] for group in groups}
    for step in range(steps):
        set_rates(optimizer, settings.rate_factor(step, steps))
        for group, given in zip(groups, optimizer.param_groups, strict=True):
            expected[group.name].append((step + 1, given["lr"]))
    lines = {str(line.get_label()): line.get_xydata() for line in figures[0].axes[0].lines}
    assert lines.keys() == expected.keys()
    for name, points in expected.items():
        np.testing.assert_allclose(lines[name], points, rtol=1e-12, err_msg=name)


def test_of_many_steps_the_first_the_last_and_the_peak_are_drawn(figures: list[Figure], tmp_path: Path) -> None:
    plot_rates(ALL, training(warmup_ratio=0.123), 100_000, tmp_path / "rates.png")
    steps, rates = figures[0].axes[0].lines[0].get_xydata().T
    assert len(steps) <= 402
    assert (steps[0], steps[-1]) == (1, 100_000)
    assert steps[np.argmax(rates)] == 12_300  # the warm-up's last
    assert rates.max() == 1e-3


def test_peaks_by_group_from_the_head_down(figures: list[Figure], tmp_path: Path) -> None:
    plot_rates(groups_of(2, 0.5, head=2.0), training(), 250, tmp_path / "rates.png")
    peaks = figures[0].axes[1]
    names = peaks.get_yticklabels()
    assert dots_of(peaks).get_offsets().data.tolist() == [[2e-3, 0], [1e-3, 1], [1e-3, 2], [5e-4, 3], [2.5e-4, 4]]
    assert [name.get_text() for name in names] == ["head", "final norm", "layer 1", "layer 0", "embeddings"]
    bottom, top = peaks.get_ylim()
    assert top < 0 < 4 < bottom  # the first is on top


def test_a_rate_has_one_colour_in_both_panels(figures: list[Figure], tmp_path: Path) -> None:
    """Lines of one rate lie on each other: whichever is seen, its colour names all of them."""
    plot_rates(groups_of(2, 0.5), training(), 250, tmp_path / "rates.png")
    by_step, peaks = figures[0].axes
    lines = [to_hex(line.get_color()) for line in by_step.lines]
    assert [to_hex(colour) for colour in dots_of(peaks).get_facecolors()] == lines
    head, norm, above, below, embeddings = lines
    assert head == norm == above
    assert len({above, below, embeddings}) == 3


def test_one_group_needs_no_second_panel(figures: list[Figure], tmp_path: Path) -> None:
    plot_rates(ALL, training(), 20, tmp_path / "rates.png")
    (axes,) = figures[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("step", "learning rate", "linear")
    assert axes.get_ylim()[0] == 0


def test_rates_of_several_orders_are_drawn_by_orders(figures: list[Figure], tmp_path: Path) -> None:
    for decay in (0.7, 0.4):
        plot_rates(groups_of(4, decay), training(), 100, tmp_path / "rates.png")
    scales = [(figure.axes[0].get_yscale(), figure.axes[1].get_xscale()) for figure in figures]
    assert scales == [("linear", "linear"), ("log", "log")]
    slowest = 1e-3 * 0.4**4
    assert figures[1].axes[0].get_ylim()[0] < slowest / 10  # all groups are on it, at their peak and long after
    assert figures[1].axes[1].get_xlim()[0] < slowest


CASES: dict[str, tuple[list[ParameterGroup], dict[str, Any], int]] = {
    "embedded": (groups_of(4, 0.7), {}, 250),
    "no decay, a fast head": (groups_of(4, 1.0, head=10.0), {}, 250),
    "TinyLlama": (groups_of(22, 0.9), {"learning_rate": 2e-5}, 3000),
    "7B": (groups_of(32, 0.9, head=2.0), {"learning_rate": 2e-5}, 30_000),
    "70B": (groups_of(80, 0.97, head=2.0), {"learning_rate": 1e-5}, 300_000),
    "steep": (groups_of(32, 0.5), {"learning_rate": 3e-4, "schedule": "cosine"}, 300),
    "down to nothing": (groups_of(4, 1e-90), {}, 10),
    "one step": (groups_of(4, 0.7), {}, 1),
    "two steps, all warm-up": (groups_of(4, 0.7), {"warmup_ratio": 1.0}, 2),
    "one group": (ALL, {"learning_rate": 2e-5}, 40),
    "a name like a formula": ([ParameterGroup("$x_1$, all", ALL[0].parameters, 0.5), *groups_of(1, 0.9)], {}, 10),
}


@pytest.mark.parametrize("case", CASES)
def test_it_can_be_read(case: str, figures: list[Figure], tmp_path: Path) -> None:
    groups, settings, steps = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_rates(groups, training(**settings), steps, tmp_path / "rates.png")
    assert_readable(figures[0])
    for axes in figures[0].axes:  # a scale is read off two values
        assert len(ticks_of(axes.xaxis)) >= min(steps, 2)
        assert len(ticks_of(axes.yaxis)) >= 2
    height, width, _ = matplotlib.image.imread(tmp_path / "rates.png").shape
    assert width <= 1300
    assert height <= 2200
