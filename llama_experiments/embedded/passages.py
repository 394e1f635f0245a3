"""Invented passages with questions whose answers stand in them, word for word.

A passage tells a few facts of one topic. Every topic has several people, years, places and numbers, so that the
kind of thing asked for does not give the answer away.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llama_experiments.embedded.passage_topics import CHOICES, TOPICS
from llama_experiments.embedded.words import Slots

QUESTIONS = (2, 4)  # of one passage, at least and at most
SENTENCES = (3, 7)


@dataclass(frozen=True)
class Question:
    question: str
    answer: str


@dataclass(frozen=True)
class Passage:
    title: str
    context: str
    questions: tuple[Question, ...]


def write_passages(rng: random.Random, questions: int, seen: set[str]) -> list[Passage]:
    """Passages with `questions` questions, or one more; no context is in `seen`, to which they are added."""
    passages: list[Passage] = []
    written = 0
    while written < questions:
        passage = write_passage(rng, wanted=max(QUESTIONS[0], min(questions - written, rng.randint(*QUESTIONS))))
        if passage.context not in seen and answerable(passage):
            seen.add(passage.context)
            passages.append(passage)
            written += len(passage.questions)
    return passages


def write_passage(rng: random.Random, wanted: int) -> Passage:
    """One passage with the `wanted` number of questions."""
    title = rng.choice(sorted(TOPICS))
    first, *others = TOPICS[title]
    further = rng.randint(SENTENCES[0] - 1, min(SENTENCES[1] - 1, len(others)))
    facts = [first, *sorted(rng.sample(others, further), key=others.index)]
    # In the order in which the facts are told, so that nothing is rebuilt before it is built.
    year = rng.randint(1801, 1899)
    year2 = year + rng.randint(18, 49)
    year3 = year2 + rng.randint(1, 29)
    slots = Slots(rng, CHOICES, year=str(year), year2=str(year2), year3=str(year3))
    context = " ".join(slots.fill(rng.choice(fact.told)) for fact in facts)
    asked = rng.sample([question for fact in facts for question in fact.asked], wanted)
    questions = tuple(Question(slots.fill(question), slots[slot]) for question, slot in asked)
    return Passage(slots.fill(title), context, questions)


def answerable(passage: Passage) -> bool:
    """Whether every answer stands in the passage exactly once: chance may write the same number twice."""
    return all(len(places(question.answer, passage.context)) == 1 for question in passage.questions)


def places(answer: str, context: str) -> list[int]:
    """Where the answer stands in the passage as a whole word."""
    return [found.start() for found in re.finditer(rf"\b{re.escape(answer)}\b", context)]


def squad(passages: Iterable[Passage], prefix: str) -> dict[str, Any]:
    """The passages in the format of SQuAD 1.1; `prefix` begins the questions' ids."""
    data = []
    number = 0
    for passage in passages:
        asked = []
        for question in passage.questions:
            number += 1
            (start,) = places(question.answer, passage.context)
            answers = [{"text": question.answer, "answer_start": start}]
            asked.append({"id": f"{prefix}{number:04}", "question": question.question, "answers": answers})
        data.append({"title": passage.title, "paragraphs": [{"context": passage.context, "qas": asked}]})
    return {"version": "1.1", "data": data}
