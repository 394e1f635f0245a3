"""Verdicts hold as often as they say: on simulated predictions, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from llama_experiments.comparison.statistics import across_seeds, compare_models, compare_settings, holm, mcnemar
from llama_experiments.sweeps.intervals import Scores, difference

TRIALS, ROWS = 300, 300


def scores(values: np.ndarray, groups: np.ndarray | None = None) -> Scores:
    rows = np.arange(len(values)) if groups is None else groups
    return Scores.of(list(rows), list(values), [1.0] * len(values))


def correlated(random: np.random.Generator, shares: list[float], rows: int = ROWS) -> list[np.ndarray]:
    """Models that are right on such shares of the rows, alike because rows are hard for all of them."""
    hard = random.normal(size=rows)
    told = []
    for share in shares:
        mixed = 0.8 * hard + 0.6 * random.normal(size=rows)
        told.append(mixed < norm.ppf(share))
    return told


def likely(hits: int, trials: int, low: float, high: float) -> bool:
    """Whether a rate between the bounds explains so many hits, at 1 in 10,000."""
    return bool(binom.sf(hits - 1, trials, high) > 1e-4 and binom.cdf(hits, trials, low) > 1e-4)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(TRIALS):
        one, other = correlated(random, [0.8, 0.74])
        found = difference(scores(one.astype(float)), scores(other.astype(float)), seed=trial)
        covered += found.low <= 0.06 <= found.high
    assert likely(covered, TRIALS, 0.93, 0.97), covered / TRIALS


def test_rows_that_share_a_context_are_drawn_together() -> None:
    """Ten questions a passage, right or wrong together: rows drawn alone would be far too sure."""
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 10)
    covered = alone = 0
    for trial in range(TRIALS):
        # Half of the passages are a model's own to get right: no difference in truth.
        one, other = (np.repeat(random.random(60) < 0.5, 10).astype(float) for _ in range(2))
        together = difference(scores(one, groups), scores(other, groups), seed=trial)
        covered += together.low <= 0 <= together.high
        apart = difference(scores(one), scores(other), seed=trial)
        alone += apart.low <= 0 <= apart.high
    assert likely(covered, TRIALS, 0.92, 0.97), covered / TRIALS
    assert alone / TRIALS < 0.8


@pytest.mark.parametrize("classes", [True, False])
def test_false_alarms_among_many_are_bounded(classes: bool) -> None:
    """Five models that are as good as each other: 10 comparisons, and seldom one that calls them different."""
    random = np.random.default_rng(2)
    alarms = 0
    for trial in range(TRIALS):
        told = correlated(random, [0.8] * 5)
        pairs = compare_models([scores(one.astype(float)) for one in told], told if classes else None, seed=trial)
        assert len(pairs) == 10
        alarms += any(pair.differ for pair in pairs)
    assert likely(alarms, TRIALS, 0.0, 0.064), alarms / TRIALS


def test_a_better_model_is_called_better() -> None:
    random = np.random.default_rng(3)
    found = 0
    for trial in range(100):
        told = correlated(random, [0.85, 0.7])
        (pair,) = compare_models([scores(one.astype(float)) for one in told], told, seed=trial)
        found += pair.differ and pair.difference.low > 0
    assert found >= 95


def test_a_model_is_not_distinguishable_from_itself() -> None:
    right = np.random.default_rng(4).random(200) < 0.7
    for known in ([right, right], None):
        (pair,) = compare_models([scores(right.astype(float))] * 2, known)
        assert (pair.differ, pair.corrected, pair.difference.value) == (False, 1.0, 0.0)


def test_corrections_and_exact_tests_are_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    one, other = np.array([True] * 9 + [False]), np.array([False] * 9 + [True])
    assert mcnemar(one, other) == pytest.approx(2 * 11 / 1024)  # of ten coins, one head or fewer, twice
    assert mcnemar(one, one) == 1.0


def test_settings_need_seeds() -> None:
    with pytest.raises(ValueError, match="3 seeds"):
        compare_settings([[1.0, 2.0], [1.0, 2.0, 3.0]])
    (pair,) = compare_settings([[0.80, 0.81, 0.82], [0.70, 0.71, 0.69]])
    assert pair.differ
    assert pair.difference.value == pytest.approx(0.11)
    assert pair.difference.low > 0.08
    (pair,) = compare_settings([[0.8, 0.7, 0.9], [0.75, 0.85, 0.78]])
    assert not pair.differ
    told = across_seeds([1.0, 2.0, 3.0])
    assert (told.value, told.high) == (2.0, pytest.approx(2 + 4.3026527 / 3**0.5))
