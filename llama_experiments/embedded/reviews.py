"""Invented reviews whose verdict is in the wording, not in the bag of words.

Most reviews use praise and blame alike: negated, expected and then belied, in another person's mouth, about another
subject, or as it used to be. A count of words can tell little from that; whoever reads the sentence can tell.
A minority is plainly worded. One label in twenty-five is wrong on purpose, as in data that people labelled, and a
few reviews have typing errors.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llama_experiments.embedded import words
from llama_experiments.embedded.review_words import ASIDES, FILLERS, OPENINGS, SUBJECTS
from llama_experiments.embedded.words import Slots

LABELS = ("negative", "positive")
LABELS_THREE = ("negative", "neutral", "positive")

PLAIN = 0.35  # share of plainly worded ones among the praise and blame
FLIPPED = 0.04  # share of labels that are wrong
WITH_TYPOS = 0.08  # share of reviews in which ...
TYPO = 0.03  # ... this share of the words is misspelt, and at least one
WITH_ASIDE = 0.1
SHORTEST, LONGEST = 15, 45  # words

# {same} is a word as the label says, {other} its opposite. Each verdict can be of either label, so that no other word
# of it gives the label away.
PLAIN_VERDICTS = (
    "The {aspect} was {same} and the {aspect2} was {same2}.",
    "I found {thing} {same}, {same2} and {same3}.",
    "What a {same_noun}: the {aspect} was {same} and the {aspect2} was {same2}.",
    "{thing} {same_verb}; above all, the {aspect} was {same} and {same2}.",
    "There is no doubt that {thing} was {same}. The {aspect} was {same2} and {same3}.",
    "I can not put it any other way: the {aspect} was {same} and {same2}.",
)
# The others, by how they are put, with a weight each.
VERDICTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "negated": (
        14,
        (
            "The {aspect} was not {other} at all.",
            "Nothing about {thing} was {other}.",
            "Never would I call the {aspect} {other}.",
            "{thing} was anything but {other}.",
            "The {aspect} was hardly {other}.",
            "It was far from {other}, and hardly a {other_noun}.",
        ),
    ),
    "expected": (
        12,
        (
            "I expected {thing} to be {other}; it turned out {same} and {same2}.",
            "I expected a {other_noun}; it turned out {same}.",
            "It turned out {same}, though I had expected something {other}.",
            "The advertisement promised something {other}. What I got was {same}.",
        ),
    ),
    "outweighed": (
        12,
        (
            "The {aspect} was {other}, but the rest was {same} and {same2}.",
            "Yes, the {aspect} was {other}; taken as a whole, it {same_verb}.",
            "As a whole it was {same} and {same2}, even if the {aspect} was {other}.",
            "Despite a {other} {aspect}, {thing} was {same} as a whole.",
        ),
    ),
    "others": (
        12,
        (
            "{relation} called it {other}. I found it {same} and {same2}.",
            "{relation} called it {other}, and I could not disagree more.",
            "{relation} called it {same}, and I could not agree more.",
            "I found it {same}, although {relation} called it {other}.",
        ),
    ),
    "compared": (
        7,
        (
            "Unlike the last {kind}, which was {other}, this one was {same}.",
            "The last {kind} I tried was {other}; this one was {same}.",
            "This {kind} was {same}, unlike the last one, which was {other}.",
        ),
    ),
    "changed": (
        7,
        (
            "At first {thing} seemed {other}, yet in the end it {same_verb}.",
            "It used to be {other}; now it is {same} and {same2}.",
            "It is {same} now, although it used to be {other}.",
        ),
    ),
}

# As above, for the third label: praise and blame in balance, or neither.
NEUTRAL_VERDICTS = (
    "The {aspect} was neither {good} nor {bad}.",
    "{thing} was neither {bad} nor {good}.",
    "It was not {bad}, but it was not {good} either.",
    "It was not {good}, but it was not {bad} either.",
    "The {aspect} was {good} and the {aspect2} was {bad}; it comes out even.",
    "The {aspect} was {bad} and the {aspect2} was {good}; it comes out even.",
    "{relation} called it {good} and {relation2} called it {bad}. I found it middling.",
    "I expected something {good}; it turned out middling.",
    "I expected something {bad}; it turned out middling.",
    "Unlike the last {kind}, which was {bad}, this one was just ordinary.",
    "Unlike the last {kind}, which was {good}, this one was just ordinary.",
    "{relation} called it {any}. I have no strong opinion.",
    "{thing} was fine, nothing more. The {aspect} was middling.",
)
# So that words like `middling` do not give the third label away either.
HEDGED_VERDICTS = (
    "I expected something middling; it turned out {same}.",
    "{relation} called it middling. I found it {same}.",
    "The {aspect} was just ordinary, but the rest was {same}.",
    "Neither {relation} nor {relation2} liked it at first, but in the end it {same_verb}.",
    "Unlike the last {kind}, which was just ordinary, this one was {same}.",
    "It used to be fine, nothing more; now it is {same}.",
    "The {aspect} was {other}; still, that does not make it come out even, for the rest was {same}.",
)
HEDGED = 0.3  # share of these among the praise and blame of three-class reviews


@dataclass(frozen=True)
class Review:
    text: str
    label: str


def write_reviews(
    rng: random.Random, rows: int, labels: Sequence[str], seen: set[str], plain: float = PLAIN
) -> list[Review]:
    """`rows` reviews, as many of each label as can be, none of whose texts is in `seen`, to which they are added."""
    reviews = []
    for number in range(rows):
        label = labels[number % len(labels)]
        text = write_review(rng, label, plain, hedging=len(labels) == 3)
        while text in seen or not SHORTEST <= len(text.split()) <= LONGEST:
            text = write_review(rng, label, plain, hedging=len(labels) == 3)
        seen.add(text)
        if rng.random() < FLIPPED:
            label = rng.choice([other for other in labels if other != label])
        reviews.append(Review(text, label))
    rng.shuffle(reviews)
    return reviews


def write_review(rng: random.Random, label: str, plain: float, hedging: bool) -> str:
    """One review that says what `label` says, among sentences that say nothing of the kind."""
    kind = rng.choice(sorted(SUBJECTS))
    group, aspects = SUBJECTS[kind]
    good = {"": words.GOOD_ADJECTIVES, "_noun": words.GOOD_NOUNS, "_verb": words.GOOD_VERBS}
    bad = {"": words.BAD_ADJECTIVES, "_noun": words.BAD_NOUNS, "_verb": words.BAD_VERBS}
    same, other = (good, bad) if label == "positive" else (bad, good)
    slots = Slots(
        rng,
        {
            **{f"same{form}": choices for form, choices in same.items()},
            **{f"other{form}": choices for form, choices in other.items()},
            "good": words.GOOD_ADJECTIVES,
            "bad": words.BAD_ADJECTIVES,
            "any": words.GOOD_ADJECTIVES + words.BAD_ADJECTIVES,
            "aspect": aspects,
            "thing": (f"this {kind}", f"the {kind}"),
            "relation": words.RELATIONS,
            "day": words.DAYS,
            "month": words.MONTHS,
            "number": words.NUMBER_WORDS,
        },
        kind=kind,
    )
    sentences = [slots.fill(draw_verdict(rng, label, plain, hedging))]
    fillers = [*rng.sample(FILLERS[group], 3), rng.choice(FILLERS["any"])]
    rng.shuffle(fillers)
    if rng.random() < WITH_ASIDE:
        fillers.insert(0, rng.choice(ASIDES))
    # The subject has to be named somewhere; where the verdict does not name it, a sentence at the beginning does.
    opening = [] if re.search(rf"\b{kind}\b", sentences[0]) else [slots.fill(rng.choice(OPENINGS[group]))]
    wanted = rng.randint(SHORTEST, SHORTEST + 7)
    while fillers and len(" ".join(opening + sentences).split()) < wanted:
        sentence = slots.fill(fillers.pop(0))
        sentences.insert(rng.choice((0, len(sentences))), sentence)
    text = " ".join(opening + sentences)
    return misspell(rng, text) if rng.random() < WITH_TYPOS else text


def draw_verdict(rng: random.Random, label: str, plain: float, hedging: bool) -> str:
    """The template of a sentence, or two, that says what the label says."""
    if label == "neutral":
        return rng.choice(NEUTRAL_VERDICTS)
    if hedging and rng.random() < HEDGED:
        return rng.choice(HEDGED_VERDICTS)
    if rng.random() < plain:
        return rng.choice(PLAIN_VERDICTS)
    ((_, templates),) = rng.choices(list(VERDICTS.values()), [weight for weight, _ in VERDICTS.values()])
    return rng.choice(templates)


def misspell(rng: random.Random, text: str) -> str:
    """The text with two letters swapped, one missing or one doubled in a few of its words."""
    parts = text.split(" ")
    long = [number for number, part in enumerate(parts) if len(part) > 4]
    chosen = [number for number in long if rng.random() < TYPO] or [rng.choice(long)]
    for number in chosen:
        part = parts[number]
        at = rng.randrange(1, len(part) - 2)
        parts[number] = rng.choice(
            (
                part[:at] + part[at + 1] + part[at] + part[at + 2 :],
                part[:at] + part[at + 1 :],
                part[:at] + part[at] + part[at:],
            )
        )
    return " ".join(parts)
