"""Answers that are spans of a context: the forms people store them in, and whether they stand where they should."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_experiments.data.rows import Rows

NOWHERE = -1  # the offset of an answer that is not known to stand in the context


@dataclasses.dataclass(frozen=True)
class Answers:
    """A question's reference answers; none where it is known to have none."""

    texts: list[str]
    starts: list[int]  # offsets in characters of the context, or NOWHERE

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Start and end of those that stand in the context."""
        pairs = zip(self.texts, self.starts, strict=True)
        return [(start, start + len(text)) for text, start in pairs if start != NOWHERE]


def read_answers(value: Any) -> Answers | None:
    """Answers in any of their usual forms; None for what is none of them, or was not given.

    SQuAD's columns `{"text": [...], "answer_start": [...]}`, SQuAD's JSON `[{"text": ..., "answer_start": ...}]`, one
    such object, or texts alone.
    """
    if isinstance(value, Mapping) and isinstance(value.get("text"), list | tuple):
        texts, starts = value["text"], value.get("answer_start")
        starts = [NOWHERE] * len(texts) if starts is None else starts
        if not isinstance(starts, list | tuple) or len(starts) != len(texts):
            return None
        pairs = list(zip(texts, starts, strict=True))
    elif value == "":  # an empty field of a CSV
        return None
    elif isinstance(value, list | tuple | Mapping | str):
        items = [value] if isinstance(value, Mapping | str) else value
        pairs = [
            (item.get("text"), item.get("answer_start", NOWHERE)) if isinstance(item, Mapping) else (item, NOWHERE)
            for item in items
        ]
    else:
        return None
    good = all(isinstance(text, str) and isinstance(start, int) for text, start in pairs)
    return Answers([text for text, _ in pairs], [int(start) for _, start in pairs]) if good else None


def locate(context: str, answers: Answers) -> Answers:
    """The answers with their offsets right: as given where the text stands there, else where it stands only once."""
    return Answers(
        answers.texts, [_start(context, *pair) for pair in zip(answers.texts, answers.starts, strict=True)]
    )


def why_unreadable(question: Any, context: Any, value: Any) -> str | None:
    """Why a row is no question with answers on a context, or None."""
    for name, text in (("question", question), ("context", context)):
        if not isinstance(text, str) or not text.strip():
            return f"an empty {name}"
    if read_answers(value) is None:
        return "no answers" if value is None or value == "" else "answers of an unknown form"
    return None


def why_unusable(question: Any, context: Any, value: Any) -> str | None:
    """Why a span of the context cannot be learned as the row's answer, or None."""
    if (reason := why_unreadable(question, context, value)) is not None:
        return reason
    answers = read_answers(value)
    assert answers is not None
    if answers.texts and not locate(context, answers).spans:
        return "an answer that does not stand in its context"
    return None


def answer_columns() -> dict[str, Any]:
    """SQuAD's columns of answers, as `datasets` knows types."""
    import datasets

    return {"text": datasets.List(datasets.Value("string")), "answer_start": datasets.List(datasets.Value("int64"))}


MOVED = "with an answer that was moved to where it stands"
ABSENT = "with a reference answer, beside others, that does not stand in the context"


def located(rows: Rows) -> Rows:
    """Usable rows with `answers` in SQuAD's columns, their offsets right; and which were repaired."""
    values = []
    repaired: dict[str, list[int]] = {}
    for number, context, value in zip(rows.numbers, rows.table["context"], rows.table["answers"], strict=True):
        answers = read_answers(value)
        assert answers is not None, "why_unusable() comes first"
        right = locate(context, answers)
        values.append({"text": right.texts, "answer_start": right.starts})
        moves = zip(answers.starts, right.starts, strict=True)
        if any(before not in (after, NOWHERE) and after != NOWHERE for before, after in moves):
            repaired.setdefault(MOVED, []).append(int(number))
        if NOWHERE in right.starts:
            repaired.setdefault(ABSENT, []).append(int(number))
    table = rows.table.remove_columns("answers").add_column("answers", values, feature=answer_columns())
    return dataclasses.replace(rows, table=table, repaired=repaired)


def _start(context: str, text: str, start: int) -> int:
    if not text.strip():
        return NOWHERE
    if start >= 0 and context[start : start + len(text)] == text:
        return start
    first = context.find(text)
    return first if first != -1 and context.find(text, first + 1) == -1 else NOWHERE
