"""The state of the rows before a step is made on them: what is empty, repeated, contradictory, shared, too long."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llama_experiments.data.fingerprints import fingerprints, normalized_texts
from llama_experiments.data.rows import LISTED
from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from llama_experiments.data.examples import Examples
    from llama_experiments.data.rows import Rows
    from llama_experiments.data.sources import Dataset
    from llama_experiments.tasks.base import Task

SAMPLE = 20_000  # distinct texts of both sides together that near duplicates are looked for in
BARS = 40  # of a histogram of lengths, at most
LONG_TAIL = 2.0  # longest row over the 99th percentile from which on the longest rows share a bar


@dataclasses.dataclass(frozen=True)
class Finding:
    """Some rows of a part, by their numbers in the source."""

    rows: int
    numbers: list[int]  # the first of them

    @classmethod
    def of(cls, rows: Rows, mask: np.ndarray) -> Finding:
        """Those of `rows` that `mask` marks."""
        return cls(int(mask.sum()), rows.numbers[np.flatnonzero(mask)[:LISTED]].tolist())


@dataclasses.dataclass(frozen=True)
class NearDuplicates:
    """Evaluation rows whose text is nearly one of the training rows'."""

    rows: int
    texts: dict[str, list[int]]  # part -> how many distinct texts were compared, of how many
    pairs: list[dict[str, Any]]  # part -> a row's number, and their similarity


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Tokens of a part's rows before they are cut, and what cutting does to them."""

    total: int
    mean: float
    median: int
    most: int  # 95% of the rows have no more
    longest: int
    histogram: dict[str, list[int]]  # edges: tokens; rows: from an edge to below the next
    findings: dict[str, Finding]


@dataclasses.dataclass
class Part:
    """What was found in one part, by row."""

    source: str
    rows: int  # that can be used
    classes: dict[str, int]
    left_out: dict[str, Finding]  # reason -> rows that cannot be used
    repaired: dict[str, Finding]
    repeated: Finding  # rows that are an earlier one once more, label included
    contradictory: Finding  # rows whose text has another label elsewhere in the part
    in_train: Finding | None = None  # evaluation rows that are training rows, too; whatever their label
    passages_in_train: Finding | None = None  # where rows have passages (contexts) that may be shared beside
    near_duplicates: NearDuplicates | None = None
    lengths: Lengths | None = None


@dataclasses.dataclass
class Hygiene:
    """The report on all parts."""

    parts: dict[str, Part]
    on_problem: Literal["report", "fail", "drop"]
    max_length: int
    dropped: dict[str, int]  # reason -> training rows, each counted once

    def problems(self) -> dict[str, list[str]]:
        """Part -> what is wrong with it, each with its count."""
        return {name: told for name, part in self.parts.items() if (told := list(_problems(part)))}

    def record(self) -> dict[str, Any]:
        """The contents of `hygiene.json`."""
        return dataclasses.asdict(self)

    def add_lengths(self, task: Task, examples: dict[str, Examples]) -> None:
        """Say how long the rows are, now that they are tokens."""
        tokens = {name: task.row_tokens(part) for name, part in examples.items()}
        edges = _edges([*tokens.values()])
        for name, counts in tokens.items():
            found = task.length_findings(examples[name])
            self.parts[name].lengths = Lengths(
                total=int(counts.sum()),
                mean=round(float(counts.mean()), 2),
                median=int(np.quantile(counts, 0.5, method="inverted_cdf")),
                most=int(np.quantile(counts, 0.95, method="inverted_cdf")),
                longest=int(counts.max()),
                histogram={"edges": edges.tolist(), "rows": np.histogram(counts, edges)[0].tolist()},
                findings={what: Finding.of(examples[name].rows, mask) for what, mask in found.items() if mask.any()},
            )


def check_rows(rows: dict[str, Rows], task: Task, dataset: Dataset) -> tuple[dict[str, Rows], Hygiene]:
    """Look at all rows; returns those to go on with, and the report.

    Texts are the same if they are after Unicode's NFKC, in lower case and with single spaces. Evaluation rows are
    never changed.

    Raises:
        UserError: there are problems and they are to end the run, or nothing to learn from would be left.
    """
    prints = {name: fingerprints(part.table, task.content) for name, part in rows.items()}
    labels = {name: _labels(part) for name, part in rows.items()}
    parts = {name: _part(part, prints[name], labels[name], task.class_sizes(part)) for name, part in rows.items()}
    other = task.passages != task.content
    passages = {name: fingerprints(part.table, task.passages) for name, part in rows.items()} if other else prints
    for name in rows:
        if name == "train":
            continue
        parts[name].in_train = Finding.of(rows[name], np.isin(prints[name], prints["train"]))
        if other:
            parts[name].passages_in_train = Finding.of(rows[name], np.isin(passages[name], passages["train"]))
        if dataset.near_duplicates != "none":
            limit = SAMPLE if dataset.near_duplicates == "sample" else None
            parts[name].near_duplicates = _near(rows, name, passages, task.passages, limit, dataset.subset_seed)
    hygiene = Hygiene(parts, dataset.on_problem, task.max_length, {})
    if dataset.on_problem == "fail" and (problems := hygiene.problems()):
        told = "\n".join(f"  {name}: {', '.join(found)}" for name, found in problems.items())
        raise UserError(f"dataset.on_problem is fail, and the rows have problems:\n{told}")
    if dataset.on_problem == "drop":
        reasons = _reasons_to_drop(prints, labels["train"])
        hygiene.dropped = {reason: int(mask.sum()) for reason, mask in reasons.items() if mask.any()}
        rows = {**rows, "train": _without(rows["train"], np.any([*reasons.values()], axis=0), task)}
    return rows, hygiene


def _edges(tokens: list[np.ndarray]) -> np.ndarray:
    """The edges of bars that hold all these lengths; the last is wide where a few rows are far longer than others."""
    longest = max(int(counts.max()) for counts in tokens)
    usual = max(int(np.quantile(counts, 0.99, method="inverted_cdf")) for counts in tokens)
    end = longest if longest <= LONG_TAIL * usual else usual
    width = -(-(end + 1) // BARS)  # rounded up
    edges = np.arange(0, end + width + 1, width)
    return edges if longest < edges[-1] else np.append(edges, longest + 1)


def _part(rows: Rows, prints: np.ndarray, labels: np.ndarray, classes: dict[str, int]) -> Part:
    return Part(
        source=rows.where,
        rows=len(rows),
        classes=classes,
        left_out={
            reason: Finding(count, rows.left_out_numbers.get(reason, [])[:LISTED])
            for reason, count in rows.left_out.items()
        },
        repaired={what: Finding(len(numbers), numbers[:LISTED]) for what, numbers in rows.repaired.items()},
        repeated=Finding.of(rows, _repeated(prints, labels)),
        contradictory=Finding.of(rows, _contradictory(prints, labels)),
    )


def _labels(rows: Rows) -> np.ndarray:
    """[rows] the rows' classes; the same for all where there are none."""
    if "label" not in rows.table.column_names:
        return np.zeros(len(rows), dtype=np.int64)
    return np.asarray(rows.table["label"][:])


def _repeated(prints: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[rows] whether an earlier row has the same text and the same label."""
    order = np.lexsort((np.arange(len(prints)), labels, prints))
    same = (prints[order][1:] == prints[order][:-1]) & (labels[order][1:] == labels[order][:-1])
    repeated = np.zeros(len(prints), dtype=bool)
    repeated[order[1:]] = same
    return repeated


def _contradictory(prints: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[rows] whether another row has the same text and another label."""
    _, text, sizes = np.unique(prints, return_inverse=True, return_counts=True)
    lowest, highest = (np.full(len(sizes), start, dtype=np.int64) for start in (np.iinfo(np.int64).max, -1))
    np.minimum.at(lowest, text, labels)
    np.maximum.at(highest, text, labels)
    return np.asarray((lowest != highest)[text])


def _near(
    rows: dict[str, Rows],
    name: str,
    prints: dict[str, np.ndarray],
    columns: tuple[str, ...],
    limit: int | None,
    seed: int,
) -> NearDuplicates:
    """Compare the distinct texts of the part `name` with those of the training rows, but not with their equals."""
    from llama_experiments.data.near_duplicates import near_duplicates

    theirs, here, sizes = np.unique(prints[name], return_index=True, return_counts=True)
    new = ~np.isin(theirs, prints["train"])
    here, sizes = here[new], sizes[new]
    _, there = np.unique(prints["train"], return_index=True)
    random = np.random.default_rng(seed)
    total = {"train": len(there), name: len(here)}
    if limit is not None and len(here) + len(there) > limit:
        chosen = random.permutation(len(here))[: max(limit // 2, limit - len(there))]
        here, sizes = here[chosen], sizes[chosen]
        there = random.permutation(there)[: limit - len(here)]
    order = np.argsort(here)
    here, sizes, there = here[order], sizes[order], np.sort(there)
    pairs = near_duplicates(_texts(rows[name], columns, here), _texts(rows["train"], columns, there))
    return NearDuplicates(
        rows=int(sum(sizes[pair.left] for pair in pairs)),
        texts={"train": [len(there), total["train"]], name: [len(here), total[name]]},
        pairs=[
            {
                name: int(rows[name].numbers[here[pair.left]]),
                "train": int(rows["train"].numbers[there[pair.right]]),
                "similarity": round(pair.similarity, 3),
            }
            for pair in pairs[:LISTED]
        ],
    )


def _texts(rows: Rows, columns: tuple[str, ...], chosen: np.ndarray) -> Iterator[str]:
    for texts in normalized_texts(rows.table, columns, chosen):
        yield from texts.to_pylist()


def _reasons_to_drop(prints: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Which training rows not to learn from and why, one reason for each."""
    train = prints["train"]
    elsewhere = np.concatenate([part for name, part in prints.items() if name != "train"])
    contradictory = _contradictory(train, labels)
    shared = np.isin(train, elsewhere) & ~contradictory
    repeated = _repeated(train, labels) & ~contradictory & ~shared
    return {"contradictory": contradictory, "also in evaluation": shared, "repeated": repeated}


def _without(rows: Rows, dropped: np.ndarray, task: Task) -> Rows:
    kept = np.flatnonzero(~dropped)
    if not len(kept):
        raise UserError("dataset.on_problem: without the rows that have problems nothing is left to train on")
    if len(kept) == len(rows):
        return rows
    rows = dataclasses.replace(rows, table=rows.table.select(kept), numbers=rows.numbers[kept])
    left = [name for name, count in task.class_sizes(rows).items() if count]
    if len(left) == 1:
        raise UserError(f"dataset.on_problem: without the rows that have problems only the class '{left[0]}' is left")
    return rows


def _problems(part: Part) -> Iterator[str]:
    yield from (f"{found.rows:,} left out ({reason})" for reason, found in part.left_out.items())
    yield from (f"{found.rows:,} {what}" for what, found in part.repaired.items())
    for found, words in (
        (part.repeated, "repeated"),
        (part.contradictory, "contradictory"),
        (part.in_train, "also in training"),
        (part.near_duplicates, "nearly in training"),
    ):
        if found is not None and found.rows:
            yield f"{found.rows:,} {words}"
