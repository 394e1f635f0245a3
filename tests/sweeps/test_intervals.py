"""Intervals of the bootstrap: against scipy's, against known truths, and in pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from llama_experiments.sweeps.intervals import Scores, difference, interval


def scores(values: np.ndarray, counts: np.ndarray | None = None) -> Scores:
    counts = np.ones(len(values)) if counts is None else counts
    return Scores.of(range(1, len(values) + 1), values.tolist(), counts.tolist())


def test_an_interval_is_scipys() -> None:
    values = np.random.default_rng(3).random(400) ** 2
    ours = interval(scores(values))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=5_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean(), abs=1e-12)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        found = interval(scores((random.random(150) < 0.7).astype(float)))
        held += found.low <= 0.7 <= found.high
    assert 0.91 <= held / 300 <= 0.98


def test_rows_in_several_windows_are_drawn_whole() -> None:
    one = Scores.of([4, 2, 4, 9], [1.0, 5.0, 2.0, 3.0], [1, 2, 1, 2])
    assert one.rows.tolist() == [2, 4, 9]
    assert (one.sums.tolist(), one.counts.tolist()) == ([5.0, 3.0, 3.0], [2, 2, 2])
    assert one.mean == pytest.approx(11 / 6)


def test_pairs_tell_what_two_intervals_cannot() -> None:
    """A small gain on every row is lost in the spread of the rows, but not in their differences."""
    random = np.random.default_rng(5)
    hard = random.random(300)
    one, other = scores(hard + 0.02 + 0.001 * random.random(300)), scores(hard)
    apart = difference(one, other)
    assert apart.low > 0
    assert apart.value == pytest.approx(0.0205, abs=0.001)
    assert interval(one).low < interval(other).high


def test_only_common_rows_are_compared() -> None:
    one = Scores.of([1, 2, 3], [1.0, 0.0, 1.0], [1, 1, 1])
    other = Scores.of([2, 3, 4], [0.0, 1.0, 0.0], [1, 1, 1])
    same = difference(one, other)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no row"):
        difference(one, Scores.of([7], [1.0], [1]))
