"""The ladder: every technique on one split, so that a reader can decide which is worth its cost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from llama_experiments.files import write_text
from llama_experiments.runs.result import Result
from llama_experiments.runs.written import read_numbers
from llama_experiments.sweeps.base import Job, Sweep
from llama_experiments.sweeps.intervals import Interval, Scores, difference, interval


@dataclasses.dataclass(frozen=True)
class Rung:
    """A technique's run, its metric with an interval, and how far it is from the best."""

    job: Job
    metric: Interval
    behind: Interval | None  # its metric less the best's on the same rows; None: it is the best

    @property
    def name(self) -> str:
        return self.job.choices.get("technique", self.job.result.technique)

    @property
    def as_good(self) -> bool:
        """Whether it cannot be told from the best at 95%."""
        return self.behind is None or self.behind.low <= 0 <= self.behind.high


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ladder(Sweep):
    """Runs of several techniques on the same rows, side by side in one table and one picture."""

    def report(self, folder: Path, jobs: list[Job], missing: list[str]) -> list[str]:
        from llama_experiments.sweeps.plots import plot_ladder

        groups: dict[str, list[Job]] = {}
        for job in jobs:  # a metric is compared with itself alone
            groups.setdefault(job.result.metric, []).append(job)
        lines, told = ["# The ladder", ""], []
        for metric, members in groups.items():
            rungs = climb(members)
            table = ladder_table(rungs)
            name = "ladder.png" if len(groups) == 1 else f"ladder_{metric}.png"
            plot_ladder(rungs, folder / name)
            lines += [*table, "", *_verdict(rungs), "", f"![the ladder]({name})", ""]
            told += [*aligned(table), "", *_verdict(rungs), ""]
        lines += [*_notes(jobs, missing)]
        write_text(folder / "ladder.md", "\n".join(lines) + "\n")
        return told


def climb(jobs: list[Job]) -> list[Rung]:
    """The rungs in the jobs' order, each compared with the best."""
    scores = [_scores(job) for job in jobs]
    sign = 1 if jobs[0].result.higher_is_better else -1
    best = max(range(len(jobs)), key=lambda at: sign * scores[at].mean)
    return [
        Rung(job, interval(one), None if at == best else difference(one, scores[best]))
        for at, (job, one) in enumerate(zip(jobs, scores, strict=True))
    ]


def _scores(job: Job) -> Scores:
    table = read_numbers(job.folder.predictions, "row", "metric_sum", "metric_count")
    return Scores.of(table["row"], table["metric_sum"], table["metric_count"])


def ladder_table(rungs: list[Rung]) -> list[str]:
    """The rungs as lines of Markdown. Losses over other items than the first rung's have their item beside them."""
    first = rungs[0].job.result
    item = f"{first.items:,} {first.item}s"
    metric = first.metric.replace("_", " ")
    columns = [
        "technique",
        f"{metric} [95%]",
        "less the best's",
        f"loss ({item})",
        "trained",
        "rate",
        "memory",
        "seconds",
        "tokens/s",
    ]
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    for rung in rungs:
        result = rung.job.result
        loss = f"{result.eval_loss:.4f}" if isinstance(result.eval_loss, float) else result.eval_loss
        if not scores_the_same(result, first):
            loss = f"({loss} over {result.items:,} {result.item}s)"
        cells = [
            rung.name,
            with_interval(rung.metric),
            "best" if rung.behind is None else with_interval(rung.behind, signed=True),
            loss,
            f"{result.trainable_parameters:,} ({result.trainable_parameters / result.parameters:.1%})",
            "--" if result.learning_rate is None else f"{result.learning_rate:g}",
            "--" if result.peak_memory_growth is None else f"{result.peak_memory_growth / 2**20:,.0f} MiB",
            f"{result.seconds:.1f}" + (f" (+ {result.tuning_seconds:.1f})" if result.tuning_seconds else ""),
            f"{result.tokens_per_second:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def scores_the_same(one: Result, other: Result) -> bool:
    """Whether two losses are means over the same items: only then are they set side by side."""
    return (one.item, one.items) == (other.item, other.items)


def _verdict(rungs: list[Rung]) -> list[str]:
    """Which technique is worth its cost, as far as these rows can tell."""
    best = next(rung for rung in rungs if rung.behind is None)
    metric = best.job.result.metric.replace("_", " ")
    said = f"The best {metric} is {best.name}'s, {best.metric.value:.4f}."
    equals = [rung for rung in rungs if rung.as_good and rung is not best]
    if not equals:
        return [f"{said} Every other one is behind it at 95% (bootstrap over the evaluation rows, in pairs)."]
    names = ", ".join(f"{rung.name} ({rung.job.result.trainable_parameters:,} trained)" for rung in equals)
    return [f"{said} Not distinguishable from it at 95% (bootstrap over the evaluation rows, in pairs): {names}."]


def _notes(jobs: list[Job], missing: list[str]) -> list[str]:
    results = [job.result for job in jobs]
    lines = [
        "With `tuning` each rung that trains chose its learning rate on a part of the training rows held out for it; "
        "metric, interval and loss are of the evaluation rows, after the last epoch unless training.save_model=best. "
        "An interval says what other rows of the kind would change, not what another seed would.",
    ]
    if results and any(not scores_the_same(result, results[0]) for result in results):
        lines += ["", "A loss in brackets is a mean over other items: it cannot be compared with the others."]
    lines += [
        "",
        "Memory is the highest point of training and evaluation over the loaded model. Seconds are of the "
        "epochs with their evaluations, and in brackets of the choice of the rate; tokens are those trained on, or, "
        "where nothing is trained, those evaluated.",
    ]
    if missing:
        lines += ["", f"Not here, since they did not end well: {', '.join(missing)}."]
    lines += ["", *(f"- [{job.folder.name}]({job.folder.name}/report.md)" for job in jobs)]
    return lines


def with_interval(metric: Interval, signed: bool = False) -> str:
    """A figure with its interval behind it."""
    sign = "+" if signed else ""
    return f"{metric.value:{sign}.4f} [{metric.low:{sign}.4f}, {metric.high:{sign}.4f}]"


def aligned(table: list[str]) -> list[str]:
    """A table of Markdown as one for the terminal."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (table[0], *table[2:])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
