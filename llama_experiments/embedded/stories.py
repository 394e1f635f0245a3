"""Invented short stories, and some essays.

In a story somebody wants something, something is in the way, and the end comes back to both. It is made of a plot,
which is a list of beats; each beat is told in one of several ways, and some may be left out. Names, places and things
are slots of the whole story, so that what is named at the beginning returns at the end.
"""

from __future__ import annotations

import random

from llama_experiments.embedded import words
from llama_experiments.embedded.story_essays import ESSAYS
from llama_experiments.embedded.story_plots import PLOTS
from llama_experiments.embedded.words import Slots

SHORTEST, LONGEST = 60, 200  # words

COMMON: dict[str, tuple[str, ...]] = {
    "town": words.TOWNS,
    "day": words.DAYS,
    "month": words.MONTHS,
    "number": words.NUMBER_WORDS,
    "job": words.listed(
        "baker clerk gardener tailor potter carpenter teacher nurse printer shepherd librarian painter"
    ),
    "trait": ("quiet", "stubborn", "cheerful", "careful", "restless", "shy", "patient", "proud", "curious"),
    "weather": ("rain", "snow", "fog", "wind", "hail", "drizzle"),
    "food": ("bread", "cheese", "plums", "soup", "pears", "honey cake", "apples", "porridge"),
    "time": ("one {day} in {month}", "early in {month}", "on the first {day} of {month}", "late one {day} evening"),
}

# Whatever the plot, a sentence of this kind may come after the first; essays say such things themselves.
TRAITS = (
    "{name} was a {trait} person, and everyone in {town} knew it.",
    "People in {town} said that {name} was {trait}, and they were right.",
    "By trade {name} was a {job2}, and rather a {trait} one.",
)


def write_stories(rng: random.Random, rows: int, seen: set[str]) -> list[str]:
    """`rows` stories, none of them in `seen`, to which they are added."""
    stories: list[str] = []
    while len(stories) < rows:
        story = write_story(rng)
        if story not in seen and SHORTEST <= len(story.split()) <= LONGEST:
            seen.add(story)
            stories.append(story)
    return stories


def write_story(rng: random.Random) -> str:
    """One story: somebody, somewhere, and a plot."""
    plot = rng.choice(PLOTS + ESSAYS)
    name, friend, stranger = rng.sample(words.NAMES, 3)
    he, him, his = ("she", "her", "her") if name in words.WOMEN else ("he", "him", "his")
    slots = Slots(rng, COMMON | plot.choices, name=name, friend=friend, stranger=stranger, he=he, him=him, his=his)
    told = [rng.choice(ways) for ways in plot.beats]
    if plot in PLOTS and rng.random() < 0.5:
        told.insert(1, rng.choice(TRAITS))
    # Twice: a slot's value may itself have slots ("a crate of {food}").
    return " ".join(slots.fill(slots.fill(sentence)) for sentence in told if sentence)
