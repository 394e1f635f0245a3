"""The order of examples: every one once, a function of seed and epoch, little padding, and still a shuffle."""

from __future__ import annotations

import random

import numpy as np
import pytest

from llama_experiments.data.order import POOL_BATCHES, epoch_batches, evaluation_batches
from llama_experiments.training.settings import Training

LENGTHS = np.clip(np.random.default_rng(5).lognormal(3.2, 0.5, 4_000).astype(np.int64), 3, 128)  # as texts have


def padding_share(batches: list[np.ndarray], lengths: np.ndarray) -> float:
    """Padding for each real token."""
    laid_out = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return laid_out / int(lengths.sum()) - 1


@pytest.mark.parametrize("examples", [1, 7, 8, 9, 511, 512, 513, 1025, 4_000])
@pytest.mark.parametrize("batch_size", [1, 8, 5_000])
def test_every_example_comes_once(examples: int, batch_size: int) -> None:
    batches = epoch_batches(LENGTHS[:examples], batch_size, seed=0, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(examples))
    # All batches are full but one, so the steps are those that were announced.
    assert sum(len(batch) < batch_size for batch in batches) == (examples % batch_size > 0)
    assert len(batches) == Training(learning_rate=1.0, batch_size=batch_size).steps_per_epoch(examples)


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in epoch_batches(LENGTHS, 8, seed, epoch)]

    first = order(0, 1)
    seen = [first]
    for seed, epoch in [(0, 2), (1, 1), (1, 0), (2, 1), (12, 1), (1, 21)]:
        np.random.seed(seed)  # what others draw is no matter
        random.seed(epoch)
        found = order(seed, epoch)
        assert found not in seen
        seen.append(found)
    np.random.seed(99)
    assert order(0, 1) == first


def test_the_order_is_the_one_that_old_runs_had() -> None:
    """Another order would make recorded runs impossible to repeat: if it must change, say so in the notes."""
    lengths = np.array([5, 3, 9, 9, 1, 7, 2, 8, 4, 6])
    assert [batch.tolist() for batch in epoch_batches(lengths, 4, seed=0, epoch=1)] == [
        [4, 6, 1, 8],
        [3, 2],
        [0, 9, 5, 7],
    ]


def test_batches_hold_similar_lengths() -> None:
    assert padding_share(epoch_batches(LENGTHS, 8, seed=0, epoch=1), LENGTHS) < 0.04
    shuffled = np.random.default_rng(0).permutation(len(LENGTHS))
    assert padding_share(list(shuffled.reshape(-1, 8)), LENGTHS) > 0.5  # what a plain shuffle pays


def test_steps_are_in_no_order_of_length() -> None:
    means = np.array([LENGTHS[batch].mean() for batch in epoch_batches(LENGTHS, 8, seed=0, epoch=1)])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.15


def test_partners_change_from_epoch_to_epoch() -> None:
    """Lengths are sorted within pools of a shuffle, so the same examples do not always meet."""

    def pairs(epoch: int) -> set[tuple[int, int]]:
        batches = epoch_batches(LENGTHS, 8, seed=0, epoch=epoch)
        return {(int(a), int(b)) for batch in batches for a in batch for b in batch if a < b}

    assert len(pairs(1) & pairs(2)) < 0.1 * len(pairs(1))


def test_examples_of_one_length_are_shuffled_through() -> None:
    alike = np.full(POOL_BATCHES * 8, 20)
    batches = epoch_batches(alike, 8, seed=0, epoch=1)
    spread = np.mean([batch.max() - batch.min() for batch in batches])
    assert spread > len(alike) / 2  # 8 of 512 drawn at random span 7/9 of them on average


def test_the_small_batch_is_not_always_the_last() -> None:
    places = {[len(batch) for batch in epoch_batches(LENGTHS[:20], 8, 0, epoch)].index(4) for epoch in range(1, 30)}
    assert places == {0, 1, 2}


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64, 10_000])
def test_an_evaluation_sees_every_example_once_the_longest_first(batch_size: int) -> None:
    batches = evaluation_batches(LENGTHS[:1000], batch_size)
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(1000))
    assert (np.diff(LENGTHS[order]) <= 0).all()
    assert len(batches[0]) == min(batch_size, 1000)
    assert all(len(batch) >= batch_size for batch in batches[:-1])
    # No batch takes more memory than the first.
    assert all(len(batch) * LENGTHS[batch].max() <= batch_size * LENGTHS[:1000].max() for batch in batches)
    if 1 < batch_size < 100:
        assert len(batches) < 0.8 * 1000 / batch_size, "short rows go together"
    limited = evaluation_batches(LENGTHS[:1000], batch_size, limit=500)
    assert sorted(np.concatenate(limited).tolist()) == list(range(1000))
    assert all(len(batch) == 1 or len(batch) * LENGTHS[batch].max() <= 500 for batch in limited)
    again = evaluation_batches(LENGTHS[:1000], batch_size)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]
