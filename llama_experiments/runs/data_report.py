"""The hygiene report in words: lines of the header, and a section of `report.md`."""

from __future__ import annotations

from collections.abc import Iterator

from llama_experiments.data.hygiene import Finding, Hygiene, NearDuplicates, Part

NAMES = {"train": "training", "validation": "evaluation"}  # of parts, for people
FEW = 6  # classes that a line can tell


def data_facts(hygiene: Hygiene) -> dict[str, str]:
    """Lines of the header: classes, lengths, and what is wrong."""
    parts = hygiene.parts
    facts = {}
    if any(part.classes for part in parts.values()):
        facts["classes"] = "; ".join(f"{_called(name)} {_classes(part.classes)}" for name, part in parts.items())
    if all(part.lengths for part in parts.values()):
        facts["lengths"] = "; ".join(f"{_called(name)} {_lengths(part)}" for name, part in parts.items())
    problems = [f"{_called(name)} {', '.join(told)}" for name, told in hygiene.problems().items()]
    facts["rows"] = "; ".join(problems) or "none repeated, contradictory or on both sides"
    if hygiene.dropped:
        facts["dropped"] = _dropped(hygiene)
    return facts


def data_section(hygiene: Hygiene) -> list[str]:
    """The report on the data, as lines of Markdown."""
    parts = hygiene.parts
    lines = ["## The data", "", "![tokens of the rows](lengths.png)", ""]
    lines += [f"| | {' | '.join(_called(name) for name in parts)} |", f"|---|{'---:|' * len(parts)}"]
    lines += [f"| {what} | {' | '.join(cells)} |" for what, cells in _table(parts)]
    if hygiene.dropped:
        lines += ["", f"Dropped before training: {_dropped(hygiene)}."]
    for name, part in parts.items():
        if part.near_duplicates is not None:
            lines += ["", *_near(name, part.near_duplicates)]
    told = "Rows are the same if they are in lower case, with single spaces and in Unicode's NFKC form."
    return [*lines, "", f"{told} The numbers of the rows found are in [hygiene.json](hygiene.json)."]


def _table(parts: dict[str, Part]) -> Iterator[tuple[str, list[str]]]:
    """Rows of the table: what, and a cell for each part."""

    def row(what: str, values: list[int | None]) -> tuple[str, list[str]]:
        shares = zip(values, (part.rows for part in parts.values()), strict=True)
        return what, ["" if value is None else _counted(value, rows) for value, rows in shares]

    told = list(parts.values())
    yield "source", [part.source for part in told]
    yield "rows", [f"{part.rows:,}" for part in told]
    for name in told[0].classes:
        yield row(f"of class {name}", [part.classes[name] for part in told])
    for reason in dict.fromkeys(reason for part in told for reason in part.left_out):
        found = [part.left_out.get(reason) for part in told]
        yield f"left out: {reason}", [f"{one.rows:,}" if one else "0" for one in found]
    for what in dict.fromkeys(what for part in told for what in part.repaired):
        yield row(what, [_size(part.repaired.get(what)) for part in told])
    yield row("repeated", [part.repeated.rows for part in told])
    if any(part.classes for part in told):
        yield row("contradictory: the same text has another label", [part.contradictory.rows for part in told])
    yield row("also in training", [part.in_train.rows if part.in_train else None for part in told])
    if any(part.passages_in_train for part in told):
        shared = [part.passages_in_train.rows if part.passages_in_train else None for part in told]
        yield row("on a context that training has, too", shared)
    if any(part.near_duplicates for part in told):
        nearly = [part.near_duplicates.rows if part.near_duplicates else None for part in told]
        yield row("nearly in training", nearly)
    lengths = [part.lengths for part in told if part.lengths]
    if len(lengths) < len(told):
        return
    yield "tokens", [f"{one.total:,}" for one in lengths]
    yield "tokens of a row: mean", [f"{one.mean:,.1f}" for one in lengths]
    yield "median, 95%, longest", [f"{one.median:,}, {one.most:,}, {one.longest:,}" for one in lengths]
    for what in dict.fromkeys(what for one in lengths for what in one.findings):
        yield row(what, [_size(one.findings.get(what)) for one in lengths])


def _near(name: str, found: NearDuplicates) -> list[str]:
    compared = " with ".join(
        f"{some:,} of {all_of_them:,}" if some < all_of_them else f"all {some:,}"
        for some, all_of_them in (found.texts[name], found.texts["train"])
    )
    told = f"Near duplicates: {found.rows:,} {_called(name)} rows have one in training ({compared} distinct texts "
    lines = [told + "compared, by the pieces of five characters that they have in common)."]
    if found.pairs:
        lines += ["", f"| {_called(name)} row | training row | similarity |", "|---:|---:|---:|"]
        lines += [f"| {pair[name]} | {pair['train']} | {pair['similarity']:.2f} |" for pair in found.pairs]
    return lines


def _classes(sizes: dict[str, int]) -> str:
    total = sum(sizes.values())
    if len(sizes) <= FEW:
        return ", ".join(f"{name} {_counted(size, total)}" for name, size in sizes.items())
    rare, common = (choose(sizes, key=lambda name: sizes[name]) for choose in (min, max))
    return f"{len(sizes)}, from {rare} {_counted(sizes[rare], total)} to {common} {_counted(sizes[common], total)}"


def _lengths(part: Part) -> str:
    lengths = part.lengths
    assert lengths is not None
    said = f"median {lengths.median:,} tokens, 95% up to {lengths.most:,}, longest {lengths.longest:,}"
    told = [f"{_counted(found.rows, part.rows)} {what}" for what, found in lengths.findings.items()]
    return ", ".join([said, *told])


def _dropped(hygiene: Hygiene) -> str:
    told = ", ".join(f"{count:,} {reason}" for reason, count in hygiene.dropped.items())
    return f"{sum(hygiene.dropped.values()):,} of {hygiene.parts['train'].rows:,} training rows: {told}"


def _counted(rows: int, total: int) -> str:
    """Rows and their share, which is 0% or 100% only where it is exactly that."""
    share = rows / max(total, 1)
    digits = 0 if share in (0, 1) else 1 if 0.0005 <= share < 0.9995 else 3
    return f"{rows:,} ({share:.{digits}%})" if rows else "0"


def _size(found: Finding | None) -> int:
    return found.rows if found is not None else 0


def _called(name: str) -> str:
    return NAMES.get(name, name)
