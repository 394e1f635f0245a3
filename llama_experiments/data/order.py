"""Which examples make up each step: a function of (seed, epoch) and of nothing that ran before."""

from __future__ import annotations

import numpy as np

POOL_BATCHES = 64  # lengths are sorted within pools of so many batches: 1-3% padding, and still a shuffle


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of an epoch, each of examples of similar length; every example once.

    Args:
        lengths: [examples] tokens of each example.
        batch_size: examples of a batch; the last of an epoch's pool may hold fewer.
        seed: of the run.
        epoch: from 1.

    Returns:
        Index arrays of up to `batch_size` examples, in the order of the steps.
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(lengths))
    pool = POOL_BATCHES * batch_size
    batches: list[np.ndarray] = []
    for start in range(0, len(shuffled), pool):
        indices = shuffled[start : start + pool]
        # Stable: examples of equal length stay shuffled.
        indices = indices[np.argsort(lengths[indices], kind="stable")]
        batches.extend(indices[cut : cut + batch_size] for cut in range(0, len(indices), batch_size))
    return [batches[position] for position in random.permutation(len(batches))]


def evaluation_batches(lengths: np.ndarray, batch_size: int, limit: int | None = None) -> list[np.ndarray]:
    """All examples in batches of similar lengths, the longest first: if memory is short it shows at once.

    That first batch has `batch_size` examples; of shorter ones more go into a batch, as long as it has no more
    tokens, padding included.

    Args:
        limit: tokens of a batch at most, where more than one example is in it; None: any number.
    """
    indices = np.argsort(-lengths, kind="stable")
    longest = int(lengths.max(initial=1))
    batch_size = within(batch_size, longest, limit)
    tokens = batch_size * longest
    batches: list[np.ndarray] = []
    start = 0
    while start < len(indices):
        size = max(batch_size, tokens // max(1, int(lengths[indices[start]])))
        batches.append(indices[start : start + size])
        start += size
    return batches


def within(batch_size: int, longest: int, limit: int | None) -> int:
    """How many of so many examples, each of so many tokens, make up a batch within a limit of tokens."""
    return batch_size if limit is None else max(1, min(batch_size, limit // max(1, longest)))
