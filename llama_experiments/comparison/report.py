"""A comparison in words and tables: for the terminal, and as `compare.md`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from llama_experiments.comparison.compared import Compared
from llama_experiments.comparison.statistics import (
    SEEDS,
    Pair,
    across_seeds,
    compare_models,
    compare_settings,
    intervals,
)
from llama_experiments.sweeps.intervals import Interval
from llama_experiments.sweeps.ladder import with_interval


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    runs: list[Compared]
    names: list[str]
    differing: dict[str, list[Any]]  # settings, with each run's value
    intervals: list[Interval] | None  # None where the evaluation rows differ
    verdict: list[str]
    notes: list[str]

    @classmethod
    def of(cls, runs: list[Compared], notes: Sequence[str]) -> Comparison:
        """Compare."""
        keys = dict.fromkeys(key for run in runs for key in run.settings)
        values = {key: [run.settings.get(key) for run in runs] for key in keys}
        differing = {key: row for key, row in values.items() if any(value != row[0] for value in row)}
        names = _names(runs, differing)
        scores = [run.scores() for run in runs]
        same_rows = all(np.array_equal(one.rows, scores[0].rows) for one in scores)
        if len({run.data for run in runs}) > 1 or not same_rows:
            said = "The runs were evaluated on different rows: their figures stand side by side, without a verdict."
            return cls(runs, names, differing, None, [said], list(notes))
        right = [run.right() for run in runs]
        known = [one for one in right if one is not None]
        pairs = compare_models(scores, known if len(known) == len(runs) else None)
        verdict = _about_models(runs[0], pairs, names, [score.mean for score in scores])
        verdict += _about_settings(runs, differing, [score.mean for score in scores])
        return cls(runs, names, differing, intervals(scores), verdict, list(notes))

    def table(self) -> list[str]:
        """Results and what differs, as lines of Markdown."""
        metric = self.runs[0].result.metric.replace("_", " ")
        keys = [key for key in self.differing if not isinstance(self.differing[key][0], list | dict)]
        columns = [
            "run",
            *(key.rpartition(".")[2] for key in keys),
            f"{metric} [95%]",
            "eval loss",
            "epoch",
            "seconds",
        ]
        lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
        for place, run in enumerate(self.runs):
            result = run.result
            loss = result.eval_loss
            value = run.scores().mean
            cells = [
                self.names[place],
                *(_show(self.differing[key][place]) for key in keys),
                with_interval(self.intervals[place]) if self.intervals else f"{value:.4f}",
                f"{loss:.4f}" if isinstance(loss, float) else str(loss),
                str(result.epoch),
                f"{result.seconds:.1f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return lines

    def markdown(self) -> str:
        """The whole report."""
        lines = ["# Comparison", "", *self.table(), "", *(f"{line}\n" for line in self.verdict)]
        lines += ["![both losses by epoch](compare.png)", ""]
        lines += [f"- {note}" for note in self.notes]
        lines += ["", *(f"- {name}: {run.run.folder.path}" for name, run in zip(self.names, self.runs, strict=True))]
        return "\n".join(lines) + "\n"


def _names(runs: Sequence[Compared], differing: dict[str, list[Any]]) -> list[str]:
    """By what differs, where that is little; else by their folders."""
    if 1 <= len(differing) <= 2:
        names = [
            ",".join(f"{key.rpartition('.')[2]}={_show(row[place])}" for key, row in differing.items())
            for place in range(len(runs))
        ]
    else:
        names = [run.run.name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{place} {name}" for place, name in enumerate(names)]


def _about_models(first: Compared, pairs: Sequence[Pair], names: Sequence[str], means: Sequence[float]) -> list[str]:
    """What these rows say of these models."""
    sign = 1 if first.result.higher_is_better else -1
    best = max(range(len(means)), key=lambda at: sign * means[at])
    metric = first.result.metric.replace("_", " ")
    among = f", corrected among {len(pairs)} comparisons (Holm)" if len(pairs) > 1 else ""
    lines = [
        f"Of these models {names[best]} has the best {metric}, {means[best]:.4f}. At 95% "
        f"({pairs[0].test} over the evaluation rows{among}):"
    ]
    for pair in pairs:
        if best not in (pair.one, pair.other):
            continue
        other = pair.other if pair.one == best else pair.one
        low, high = pair.difference.low, pair.difference.high
        apart = pair.difference if pair.one == best else Interval(-pair.difference.value, -high, -low)
        word = "it is better than" if pair.differ else "it is not distinguishable from"
        lines.append(f"- {word} {names[other]}: {with_interval(apart, signed=True)}, p {pair.corrected:.2g}")
    lines.append(
        "That is about these models, on rows of this kind; about the settings it says nothing without seeds."
    )
    return lines


def _about_settings(runs: Sequence[Compared], differing: dict[str, list[Any]], means: Sequence[float]) -> list[str]:
    """What the seeds say of the settings, where each was run with three or more."""
    if "seed" not in differing:
        return []
    settings: dict[str, list[float]] = {}
    for place, mean in enumerate(means):
        key = json.dumps({k: row[place] for k, row in differing.items() if k != "seed"}, default=str)
        settings.setdefault(key, []).append(mean)
    if min(map(len, settings.values())) < SEEDS:
        return [f"About the settings nothing is said: each needs {SEEDS} seeds or more."]
    names = [_setting_name(key) for key in settings]
    lines = ["Of the settings, across seeds (95%, Student's t):"]
    for name, values in zip(names, settings.values(), strict=True):
        lines.append(f"- {name}: {with_interval(across_seeds(values))} over {len(values)} seeds")
    if len(settings) > 1:
        for pair in compare_settings(list(settings.values())):
            word = "differ" if pair.differ else "are not distinguishable at 95%"
            said = with_interval(pair.difference, signed=True)
            both = f"{names[pair.one]} and {names[pair.other]}"
            lines.append(f"- {both} {word}: {said}, p {pair.corrected:.2g} ({pair.test})")
    return lines


def _setting_name(key: str) -> str:
    told = json.loads(key)
    return ",".join(f"{name.rpartition('.')[2]}={_show(value)}" for name, value in told.items()) or "the setting"


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "--" if value is None else str(value)
