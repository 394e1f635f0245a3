"""Verdicts with their uncertainty, from the stored predictions of runs on the same rows.

A verdict on two runs is about these two models: other rows of the kind might have said otherwise (paired bootstrap,
Efron 1979; McNemar's exact test for classes). One about settings needs several seeds of each (Welch's t). Across many
comparisons the p-values are corrected (Holm 1979), which bounds the chance of any false alarm.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from llama_experiments.sweeps.intervals import CONFIDENCE, Interval, Scores, resampled, to_interval

ALPHA = 1 - CONFIDENCE
SEEDS = 3  # of a setting, for a verdict about it


@dataclasses.dataclass(frozen=True)
class Pair:
    """One run, or one setting, less another."""

    one: int
    other: int
    difference: Interval  # of the metric, at 95%, not corrected
    p: float  # that a difference so large is chance, alone
    corrected: float  # the same, among all that are compared
    test: str

    @property
    def differ(self) -> bool:
        """Whether they can be told apart at 95%."""
        return self.corrected < ALPHA


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the smallest times their number, the next times one less, never falling."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def intervals(scores: Sequence[Scores], seed: int = 0) -> list[Interval]:
    """Each run's metric with its interval."""
    means = resampled(scores, seed)
    return [to_interval(one.mean, row) for one, row in zip(scores, means, strict=True)]


def compare_models(scores: Sequence[Scores], right: Sequence[np.ndarray] | None, seed: int = 0) -> list[Pair]:
    """Every pair of runs on the same rows (or contexts, or documents).

    Args:
        scores: of each run, over the same rows.
        right: of each run which rows it has right, `[rows]`, where a row counts as right or wrong and none depends
            on another; None elsewhere.
    """
    from scipy.stats import norm

    means = resampled(scores, seed)
    pairs = []
    for one, other in itertools.combinations(range(len(scores)), 2):
        apart = means[one] - means[other]
        difference = to_interval(scores[one].mean - scores[other].mean, apart)
        if right is not None:
            p, test = mcnemar(right[one], right[other]), "McNemar"
        else:
            spread = float(apart.std(ddof=1))
            same = spread == 0.0
            p = float(difference.value == 0.0) if same else float(2 * norm.sf(abs(difference.value) / spread))
            test = "paired bootstrap"
        pairs.append(Pair(one, other, difference, p, p, test))
    return _corrected(pairs)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """McNemar's exact test (1947): of the rows that only one has right, half should be each one's."""
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)


def compare_settings(values: Sequence[Sequence[float]]) -> list[Pair]:
    """Every pair of settings, from the metric of each one's seeds (Welch's t test).

    Raises:
        ValueError: a setting with fewer than three seeds.
    """
    from scipy.stats import ttest_ind

    if any(len(of_setting) < SEEDS for of_setting in values):
        raise ValueError(f"each setting needs {SEEDS} seeds")
    pairs = []
    for one, other in itertools.combinations(range(len(values)), 2):
        apart = float(np.mean(values[one]) - np.mean(values[other]))
        if np.std(values[one]) == 0.0 == np.std(values[other]):  # seeds that change nothing
            pairs.append(Pair(one, other, Interval(apart, apart, apart), float(apart == 0.0), 1.0, "Welch's t"))
            continue
        result = ttest_ind(values[one], values[other], equal_var=False)
        bounds = result.confidence_interval(CONFIDENCE)
        interval = Interval(apart, float(bounds.low), float(bounds.high))
        pairs.append(Pair(one, other, interval, float(result.pvalue), 1.0, "Welch's t"))
    return _corrected(pairs)


def across_seeds(values: Sequence[float]) -> Interval:
    """A setting's mean over its seeds, with the interval of Student's t."""
    from scipy.stats import t

    mean = float(np.mean(values))
    half = float(t.ppf(1 - ALPHA / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def _corrected(pairs: list[Pair]) -> list[Pair]:
    corrected = holm([pair.p for pair in pairs])
    return [dataclasses.replace(pair, corrected=p) for pair, p in zip(pairs, corrected, strict=True)]
