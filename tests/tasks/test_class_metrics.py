"""The metrics of classes against scikit-learn's, on predictions of many kinds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from llama_experiments.tasks.class_metrics import (
    BINS,
    auc,
    balanced_weights,
    calibration_error,
    confusion,
    macro_f1,
    precision_and_recall,
)

# (classes, rows, probabilities of the labels, of the predictions):
# alike, skewed, one never predicted, one in no row, one in neither, a single row, many
KINDS = [
    (2, 500, [0.5, 0.5], [0.4, 0.6]),
    (3, 500, [0.9, 0.08, 0.02], [0.8, 0.1, 0.1]),
    (3, 300, [0.4, 0.4, 0.2], [0.5, 0.5, 0.0]),
    (3, 300, [0.5, 0.5, 0.0], [0.3, 0.3, 0.4]),
    (4, 300, [0.5, 0.5, 0.0, 0.0], [0.3, 0.3, 0.4, 0.0]),
    (2, 1, [0.0, 1.0], [1.0, 0.0]),
    (20, 2000, [0.05] * 20, [0.05] * 20),
]


@pytest.mark.parametrize("kind", KINDS)
def test_precision_recall_and_macro_f1(kind: tuple[int, int, list[float], list[float]]) -> None:
    classes, rows, of_labels, of_predictions = kind
    random = np.random.default_rng(classes)
    labels, predicted = random.choice(classes, rows, p=of_labels), random.choice(classes, rows, p=of_predictions)
    counts = confusion(labels, predicted, classes)
    np.testing.assert_array_equal(counts, confusion_matrix(labels, predicted, labels=range(classes)))
    precision, recall = precision_and_recall(counts)
    theirs = precision_recall_fscore_support(labels, predicted, labels=range(classes), zero_division=0.0)
    np.testing.assert_allclose(precision, theirs[0], rtol=1e-12)
    np.testing.assert_allclose(recall, theirs[1], rtol=1e-12)
    assert macro_f1(counts) == pytest.approx(
        f1_score(labels, predicted, average="macro", zero_division=0.0), abs=1e-12
    )


@pytest.mark.parametrize("digits", [1, 2, 17])  # few digits: many scores are equal
def test_auc(digits: int) -> None:
    random = np.random.default_rng(digits)
    labels = random.integers(0, 2, 400)
    scores = np.round(random.random(400) * 0.7 + labels * 0.3, digits)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert 0.6 < auc(labels, scores) < 0.95  # neither perfect nor a coin


def test_auc_of_one_class_is_none_and_of_no_numbers_is_none() -> None:
    assert auc(np.array([1, 1]), np.array([0.2, 0.4])) is None
    assert auc(np.array([0, 0]), np.array([0.2, 0.4])) is None
    assert np.isnan(auc(np.array([0, 1]), np.array([0.2, np.nan])))


@pytest.mark.parametrize("trust", [0.5, 1.0, 3.0])  # under-, well- and overconfident
def test_calibration_error(trust: float) -> None:
    """scikit-learn has the bins' means; its bins hold their lower edges, so no confidence is on one here."""
    random = np.random.default_rng(5)
    confidence = 0.5 + 0.5 * random.random(1000)
    right = random.random(1000) < 0.5 + (confidence - 0.5) / trust
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
    sizes = np.histogram(confidence, BINS, (0, 1))[0]
    expected = (np.abs(accuracy - mean) * sizes[sizes > 0]).sum() / 1000
    assert calibration_error(confidence, right) == pytest.approx(expected, abs=1e-12)
    assert expected > 0.02


def test_calibration_by_hand() -> None:
    """Two bins: 0.5 is in the lower one, and 1 in the upper."""
    confidence = np.array([0.25, 0.5, 0.75, 1.0])
    right = np.array([True, False, True, True])
    assert calibration_error(confidence, right, 2) == pytest.approx((0.25 + 0.25) / 4)
    assert calibration_error(np.ones(3), np.ones(3, dtype=bool)) == 0
    assert calibration_error(np.ones(3), np.zeros(3, dtype=bool)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(calibration_error(np.array([np.nan, 0.5]), np.array([True, False])))


def test_balanced_weights() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [3])
    weights = balanced_weights(labels, 4)
    np.testing.assert_allclose(
        weights[[0, 1, 3]], compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    )
    assert weights[2] == 1.0  # of no row
    np.testing.assert_allclose(np.bincount(labels, weights[labels]), [100 / 3, 100 / 3, 0, 100 / 3])
