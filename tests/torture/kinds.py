"""All kinds of bad input, and how many of each."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

from tests.torture.mutations import Case, configs, data, models, overrides, runs
from tests.torture.of_verbs import verbs

KINDS: dict[str, tuple[Callable[[random.Random], Iterator[Case]], int]] = {
    "overrides": (overrides, 100),
    "configs": (configs, 60),
    "data": (data, 120),
    "models": (models, 60),
    "runs": (runs, 100),
    "verbs": (verbs, 160),
}


def cases(seed: int, only: Sequence[str] | None = None, count: int | None = None) -> Iterator[Case]:
    """The cases of a seed: the same ones each time, no two of a kind alike in what is done."""
    for kind in only or KINDS:
        make, usual = KINDS[kind]
        made = make(random.Random(f"{seed} {kind}"))
        for number in range(count or usual):
            name = f"{kind} {number}" if seed == 0 else f"{kind} {number} of seed {seed}"
            yield dataclasses.replace(next(made), name=name)
