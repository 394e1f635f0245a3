"""How sure a metric is: percentile intervals of the bootstrap over evaluation rows (Efron 1979)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 2_000
CONFIDENCE = 0.95
AT_ONCE = 200  # resamples


@dataclasses.dataclass(frozen=True)
class Scores:
    """A metric by evaluation row, as sums and counts: the metric of some rows is one sum over the other."""

    rows: np.ndarray  # [rows] numbers in the source, rising
    sums: np.ndarray  # [rows]
    counts: np.ndarray  # [rows]

    @classmethod
    def of(cls, rows: ArrayLike, sums: ArrayLike, counts: ArrayLike) -> Scores:
        """From a table in which a row may stand several times, a window at a time."""
        numbers, place = np.unique(np.asarray(rows), return_inverse=True)
        return cls(numbers, np.bincount(place, np.asarray(sums)), np.bincount(place, np.asarray(counts)))

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure and the 95% interval around it."""

    value: float
    low: float
    high: float


def interval(scores: Scores, seed: int = 0) -> Interval:
    """The metric's interval: what it might be on other rows of the kind."""
    return to_interval(scores.mean, resampled([scores], seed)[0])


def difference(one: Scores, other: Scores, seed: int = 0) -> Interval:
    """The interval of one's metric less the other's, by the rows both have: in pairs, since rows are hard for both.

    Raises:
        ValueError: they have no row in common.
    """
    _, left, right = np.intersect1d(one.rows, other.rows, return_indices=True)
    if not len(left):
        raise ValueError("no row is common to both")
    pair = [Scores(s.rows[at], s.sums[at], s.counts[at]) for s, at in ((one, left), (other, right))]
    means = resampled(pair, seed)
    return to_interval(pair[0].mean - pair[1].mean, means[0] - means[1])


def resampled(scores: Sequence[Scores], seed: int) -> np.ndarray:
    """The metrics of resampled rows, the same ones for all: [scores, resamples]."""
    random = np.random.default_rng(seed)
    size = len(scores[0].rows)
    means = np.empty((len(scores), RESAMPLES))
    for start in range(0, RESAMPLES, AT_ONCE):
        # How often each row is drawn: resampling as a product of matrices.
        drawn = random.multinomial(size, np.full(size, 1 / size), size=AT_ONCE)
        for place, one in enumerate(scores):
            means[place, start : start + AT_ONCE] = (drawn @ one.sums) / np.maximum(drawn @ one.counts, 1e-12)
    return means


def to_interval(value: float, resampled: np.ndarray) -> Interval:
    """The percentile interval around a figure."""
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))
