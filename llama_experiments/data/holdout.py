"""A validation part taken out of the training rows: seeded, of every class its share, and nothing on both sides."""

from __future__ import annotations

import numpy as np

from llama_experiments.errors import UserError


def held_out(groups: np.ndarray, classes: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows are held out, [rows] of bool: of each class its share, whole groups only.

    Args:
        groups: [rows] numbers that rows have in common which belong together.
        classes: [rows] numbers of the rows' classes. A group counts as of its first row's class.
        share: of each class's rows.

    Raises:
        UserError: there is only one group.
    """
    _, first_rows, group_of_row, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise UserError(
            "nothing can be held out for validation, since all its rows belong together; give dataset.validation"
        )
    random = np.random.default_rng(seed)
    class_of_group = classes[first_rows]
    taken = np.zeros(len(sizes), dtype=bool)
    for one_class in np.unique(classes):
        members = np.flatnonzero(class_of_group == one_class)
        members = members[np.argsort(first_rows[members])]  # the order of the file, not of the hashes
        size = int(sizes[members].sum())
        left = min(max(1, round(share * size)), size - 1)  # something stays, to be learned from
        for group in random.permutation(members):
            if left == 0:
                break
            if sizes[group] <= left:
                taken[group] = True
                left -= sizes[group]
    if not taken.any():  # classes of one group each, or groups larger than a share
        taken[np.lexsort((first_rows, sizes))[0]] = True
    return taken[group_of_row]
