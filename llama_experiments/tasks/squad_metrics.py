"""Exact match and F1 of an answer, as the evaluation scripts of SQuAD define them.

Rajpurkar et al. 2016 (version 1.1: every question has answers) and 2018 (version 2.0: some have none).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII's, as in the scripts
ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(answer: str) -> str:
    """Lower case, without punctuation and articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str], version: int = 1) -> float:
    """1.0 where the prediction is one of the references, normalized; else 0.0."""
    return float(any(normalized(prediction) == normalized(one) for one in _golden(references, version)))


def f1(prediction: str, references: Sequence[str], version: int = 1) -> float:
    """The best overlap of words with a reference, in [0, 1]."""
    return max(_f1(prediction, one, version) for one in _golden(references, version))


def _golden(references: Sequence[str], version: int) -> Sequence[str]:
    """In version 2 a reference of which nothing remains is none, and no reference means the empty answer."""
    if version == 1:
        return references
    return [one for one in references if normalized(one)] or [""]


def _f1(prediction: str, reference: str, version: int) -> float:
    predicted, golden = normalized(prediction).split(), normalized(reference).split()
    if version == 2 and not (predicted and golden):
        return float(predicted == golden)
    common = sum((Counter(predicted) & Counter(golden)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(golden)
    return 2 * precision * recall / (precision + recall)
