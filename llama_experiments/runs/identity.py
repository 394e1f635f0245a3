"""Which runs are the same: those whose configs agree in all that a run's numbers depend on."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Where a run is kept, how the jobs of its sweep are run, and how it is gone on with.
OF_NO_NUMBER = (
    *("output_dir", "tracker", "sweep"),
    *(f"training.{setting}" for setting in ("checkpoint", "resume", "processes", "sharding")),
)


def what_counts(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A composed config without what changes no number of its run."""
    counts: dict[str, Any] = copy.deepcopy(dict(tree))
    for path in OF_NO_NUMBER:
        group, _, setting = path.partition(".")
        if not setting:
            counts.pop(group, None)
        elif isinstance(counts.get(group), dict):
            counts[group].pop(setting, None)
    return counts


def config_hash(tree: Mapping[str, Any]) -> str:
    """Of all that counts."""
    return hashlib.sha256(json.dumps(what_counts(tree), sort_keys=True, default=str).encode()).hexdigest()[:16]


def same_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configs are of the same run."""
    return config_hash(one) == config_hash(other)
