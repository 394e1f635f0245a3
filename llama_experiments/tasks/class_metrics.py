"""How good predicted classes are, by the definitions that scikit-learn has, too."""

from __future__ import annotations

import numpy as np

BINS = 15  # of the calibration error, as in Guo et al. 2017


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """[classes, classes] how many rows of each label (down) were taken for each class (across)."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def precision_and_recall(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both [classes], of a confusion matrix; 0 for a class that is never predicted, or that no row has."""
    hits = np.diagonal(counts)
    return hits / np.maximum(counts.sum(axis=0), 1), hits / np.maximum(counts.sum(axis=1), 1)


def macro_f1(counts: np.ndarray) -> float:
    """The mean F1 of the classes, of a confusion matrix; classes that nobody has and nobody predicts are none."""
    together = counts.sum(axis=0) + counts.sum(axis=1)
    there = together > 0
    return float((2 * np.diagonal(counts)[there] / together[there]).mean())


def auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The probability that a row of class 1 has a higher score than one of class 0, ties counting half.

    The area under the ROC curve, by ranks (Mann and Whitney 1947). None where one of the classes has no row.
    """
    positive = labels == 1
    pairs = int(positive.sum()) * int((~positive).sum())
    if pairs == 0:
        return None
    if np.isnan(scores).any():
        return float("nan")
    _, place, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[place]  # from 1, the mean one where scores are equal
    smallest = positive.sum() * (positive.sum() + 1) / 2
    return float((ranks[positive].sum() - smallest) / pairs)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error: by how much confidence and accuracy differ, the mean over all rows.

    Rows are put into `bins` of equal width by their confidence, the probability of the predicted class; a bin holds
    its upper edge (Guo et al. 2017). Not a number where a confidence is none.
    """
    place = np.clip(np.ceil(np.nan_to_num(confidence) * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)  # of a bin, times its rows
    return float(np.abs(gaps).sum() / len(confidence))


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """[classes] weights with which every class that occurs counts the same, 1 on the mean over the rows."""
    sizes = np.bincount(labels, minlength=classes)
    occurring = np.count_nonzero(sizes)
    return np.where(sizes > 0, len(labels) / (occurring * np.maximum(sizes, 1)), 1.0)
