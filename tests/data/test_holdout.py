"""A part held out of the training rows: every class its share, nothing on both sides, a function of its seed."""

from __future__ import annotations

import numpy as np
import pytest

from llama_experiments.data.holdout import held_out
from llama_experiments.errors import UserError

RANDOM = np.random.default_rng(3)
ROWS = 1_000
CLASSES = RANDOM.permutation(np.repeat([0, 1, 2], [700, 200, 100]))
ALONE = RANDOM.permutation(ROWS).astype(np.uint64)  # every row a group of its own
GROUPS = RANDOM.integers(0, 300, ROWS).astype(np.uint64)
ONE_CLASS = np.zeros(ROWS, dtype=np.int64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("share", "expected"), [(0.1, [70, 20, 10]), (0.25, [175, 50, 25]), (0.001, [1, 1, 1])])
def test_every_class_gives_its_share(share: float, expected: list[int], seed: int) -> None:
    out = held_out(ALONE, CLASSES, share, seed)
    assert np.bincount(CLASSES[out]).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_belong_together_stay_together(seed: int) -> None:
    out = held_out(GROUPS, ONE_CLASS, 0.2, seed)
    assert not set(GROUPS[out]) & set(GROUPS[~out])
    assert out.sum() == 200  # groups of up to eight rows; the last ones taken fill the share up


def test_the_choice_is_a_function_of_the_seed() -> None:
    choices = [held_out(ALONE, CLASSES, 0.1, seed).tolist() for seed in (0, 1, 2, 0)]
    assert choices[0] == choices[3]
    assert len({tuple(choice) for choice in choices}) == 3


@pytest.mark.parametrize("groups", [ALONE, GROUPS])
def test_how_the_groups_are_numbered_is_no_matter(groups: np.ndarray) -> None:
    """The numbers are hashes: another hash must not choose other rows."""
    renumbered = RANDOM.permutation(ROWS).astype(np.uint64)[groups.astype(np.int64)]
    assert held_out(renumbered, CLASSES, 0.1, 4).tolist() == held_out(groups, CLASSES, 0.1, 4).tolist()


def test_a_group_larger_than_the_share_stays() -> None:
    groups = np.repeat([7, 8, 9], [90, 5, 5]).astype(np.uint64)
    for seed in range(5):
        assert held_out(groups, np.zeros(100, dtype=np.int64), 0.1, seed).tolist() == [False] * 90 + [True] * 10


@pytest.mark.parametrize(
    ("groups", "classes", "out"),
    [
        ([1, 2], [0, 1], 1),  # one row a class
        ([1, 2], [0, 0], 1),
        ([1, 1, 1, 2], [0, 0, 0, 0], 1),
        ([1, 1, 1, 2, 2], [0, 0, 0, 0, 0], 2),  # every group is larger than the share: the smallest
        ([1, 2, 3, 4], [0, 0, 0, 1], 1),  # the only row of its class is learned from
    ],
)
def test_of_few_rows_something_is_on_each_side(groups: list[int], classes: list[int], out: int) -> None:
    for seed in range(5):
        chosen = held_out(np.array(groups, dtype=np.uint64), np.array(classes), 0.1, seed)
        assert chosen.sum() == out
        if classes[-1] == 1 and len(classes) == 4:
            assert not chosen[-1]


def test_nothing_can_be_held_out_of_one_group() -> None:
    with pytest.raises(UserError, match="nothing can be held out"):
        held_out(np.zeros(5, dtype=np.uint64), np.zeros(5, dtype=np.int64), 0.1, 0)
