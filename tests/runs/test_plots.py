"""The pictures: what is drawn is what was recorded, and all that is written can be read."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from llama_experiments.runs import plots
from llama_experiments.runs.plots import plot_confusion, plot_curves
from tests.runs.made import record

TITLE = "12-05-30-sentiment-embedded-full"
LEARNS = [record(0, None, 0.7), record(1, 0.6, 0.5), record(2, 0.4, 0.375), record(3, 0.2, 0.45)]


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


def points(figure: Figure) -> dict[str, list[tuple[int, float]]]:
    """Each curve's points by its label."""
    lines = [line for line in figure.axes[0].lines if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): [(int(x), float(y)) for x, y in line.get_xydata()] for line in lines}


def test_both_losses_by_epoch(figures: list[Figure], tmp_path: Path) -> None:
    plot_curves(LEARNS, TITLE, tmp_path / "curves.png", "token")
    assert points(figures[0]) == {
        "training loss": [(1, 0.6), (2, 0.4), (3, 0.2)],
        "evaluation loss (lowest 0.3750, epoch 2)": [(0, 0.7), (1, 0.5), (2, 0.375), (3, 0.45)],
    }
    axes = figures[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss (nats per token)")
    assert (axes.get_title(loc="left"), axes.get_yscale()) == (TITLE, "linear")
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert ring.get_xydata().tolist() == [[2, 0.375]]


def test_what_is_no_number_leaves_a_gap(figures: list[Figure], tmp_path: Path) -> None:
    epochs = [record(0, None, "nan"), record(1, 0.5, None), record(2, "inf", 0.25), record(3, 0.4, "inf")]
    plot_curves(epochs, TITLE, tmp_path / "curves.png")
    assert points(figures[0]) == {
        "training loss": [(1, 0.5), (3, 0.4)],
        "evaluation loss (lowest 0.2500, epoch 2)": [(2, 0.25)],
    }
    left, right = figures[0].axes[0].get_xlim()
    assert left < 0 < 3 < right  # every epoch has its place


def test_a_diverging_run_is_drawn_by_orders_of_magnitude(figures: list[Figure], tmp_path: Path) -> None:
    plot_curves([record(0, None, 0.7), record(1, 3.0, 1.8e4)], TITLE, tmp_path / "a.png")
    plot_curves([record(0, None, 0.0), record(1, 3.0, 1.8e4)], TITLE, tmp_path / "b.png")  # 0 has no logarithm
    assert [figure.axes[0].get_yscale() for figure in figures] == ["log", "linear"]


def run_of(epochs: int) -> list[dict[str, Any]]:
    curve = [2 + 4 * math.exp(-epoch / 6) for epoch in range(epochs + 1)]
    return [record(epoch, loss - 0.3 if epoch else None, loss) for epoch, loss in enumerate(curve)]


CASES = {
    "one epoch": run_of(1),
    "three": run_of(3),
    "thirty": run_of(30),
    "a thousand": run_of(1000),
    "epoch 0 alone": run_of(0),
    "no epoch 0": run_of(1)[1:],
    "diverging": [record(epoch, 10.0**epoch, 20.0**epoch) for epoch in range(6)],
    "nothing": [record(0, None, "nan"), record(1, "nan", "nan")],
    "flat": [record(epoch, 0.6931, 0.6932) for epoch in range(4)],
}


def written(figure: Figure) -> list[tuple[str, Any]]:
    """Each visible text of a figure with the box it fills, in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]


def assert_readable(figure: Figure) -> None:
    """No text is cut off, and none lies on another."""
    boxes = written(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for position, (text, box) in enumerate(boxes):
        for other, another in boxes[position + 1 :]:
            wide = min(box.x1, another.x1) - max(box.x0, another.x0)
            high = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert wide < 1 or high < 1, f"{text!r} lies on {other!r}"


@pytest.mark.parametrize("title", [TITLE, "12-05-30-" + "training.learning_rate=0.00003," * 4], ids=["short", "long"])
@pytest.mark.parametrize("case", CASES)
def test_curves_can_be_read(case: str, title: str, figures: list[Figure], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_curves(CASES[case], title, tmp_path / "curves.png")
    (figure,) = figures
    axes = figure.axes[0]
    figure.canvas.draw()
    low, high = axes.get_xlim()
    shown = {float(tick) for tick in axes.get_xticks() if low <= tick <= high}
    assert shown <= {float(one["epoch"]) for one in CASES[case]}  # epochs, not parts of one
    assert shown
    top = axes.get_window_extent().y1
    for text, box in written(figure):
        if text.startswith(("training loss", "evaluation loss")):
            assert box.y0 >= top - 1, "the legend lies on the curves"
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                tick.label1.set_visible(False)  # it is a text, but is not drawn
    assert_readable(figure)


LABELS = ["bad", "bad", "bad", "fair", "fair", "good"]
PREDICTIONS = ["bad", "bad", "good", "fair", "bad", "good"]


def test_which_class_is_taken_for_which(figures: list[Figure], tmp_path: Path) -> None:
    plot_confusion(LABELS, PREDICTIONS, ["bad", "fair", "good"], tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        # (prediction, label)
        (0, 0): "2\n67%", (1, 0): "0\n0%", (2, 0): "1\n33%",
        (0, 1): "1\n50%", (1, 1): "1\n50%", (2, 1): "0\n0%",
        (0, 2): "0\n0%", (1, 2): "0\n0%", (2, 2): "1\n100%",
    }  # fmt: skip
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bad", "fair", "good"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["bad", "fair", "good"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label")
    assert axes.get_title() == "4 of 6 right (66.7%)"
    (shares,) = axes.images
    assert shares.get_array().sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_a_class_without_rows_has_a_row_of_zeros(figures: list[Figure], tmp_path: Path) -> None:
    plot_confusion(["a", "b"], ["a", "a"], ["a", "b", "c"], tmp_path / "confusion.png")
    (shares,) = figures[0].axes[0].images
    assert shares.get_array().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "names",
    [
        ["negative", "positive"],
        ["negative", "neutral", "positive"],
        ["a very long name of a class that is cut", "a very long name of a class that is cut too"],
        [f"newsgroup.topic.{number}" for number in range(10)],
        [f"card_payment_fee_{number}" for number in range(33)],  # the most whose cells have numbers
        [f"card_payment_fee_{number}" for number in range(60)],
    ],
    ids=lambda names: str(len(names)),
)
def test_a_confusion_can_be_read(names: list[str], figures: list[Figure], tmp_path: Path) -> None:
    labels = [name for name in names for _ in range(1234)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(labels, labels, names, tmp_path / "confusion.png")
    (figure,) = figures
    axes = figure.axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(shown)) == len(names)  # cut names are still told apart
    # A slanted text's box is larger than the text: the names below are looked at for being cut off only.
    below = axes.get_xticklabels()
    width, height = figure.get_size_inches() * figure.dpi
    renderer = FigureCanvasAgg(figure).get_renderer()
    for label in below:
        box = label.get_window_extent(renderer)
        assert 0 <= box.x0 <= box.x1 <= width
        assert 0 <= box.y0 <= box.y1 <= height
        label.set_visible(label.get_rotation() == 0)
    assert_readable(figure)
    size = 1 / len(names) * axes.get_window_extent().width
    for text in axes.texts:
        assert text.get_window_extent(renderer).width <= size, "a number is wider than its cell"


def test_names_are_shown_as_they_are(figures: list[Figure], tmp_path: Path) -> None:
    """A $ begins no formula, and a script that the font lacks is no reason to complain."""
    names = ["$5 \\frac$", "好"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(names, names, names, tmp_path / "confusion.png")
        plot_curves(LEARNS, "a $\\frac$ b", tmp_path / "curves.png")
    assert [label.get_text() for label in figures[0].axes[0].get_yticklabels()] == names
    assert not any(label.get_parse_math() for label in figures[0].axes[0].get_yticklabels())


def test_pictures_are_whole_and_the_same_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plot_curves(LEARNS, TITLE, tmp_path / f"{name}.png")
        plot_confusion(LABELS, PREDICTIONS, ["bad", "fair", "good"], tmp_path / f"{name}_confusion.png")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png", "a_confusion.png", "b_confusion.png"}
    for kind in ("", "_confusion"):
        assert (tmp_path / f"a{kind}.png").read_bytes() == (tmp_path / f"b{kind}.png").read_bytes()
    height, width, _ = matplotlib.image.imread(tmp_path / "a.png").shape
    assert (width, height) == (936, 598)
