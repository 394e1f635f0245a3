"""Invented dialogues: somebody asks for something in a small town, and is told.

A dialogue is made of a scene, which is a list of exchanges; each line is said in one of several ways, and a dialogue
may end before the last exchange. Slots are the whole dialogue's, so that an answer names what was asked.
"""

from __future__ import annotations

import random

from llama_experiments.embedded import words
from llama_experiments.embedded.stories import COMMON
from llama_experiments.embedded.words import Slots

Lines = tuple[str, ...]  # the ways to say one
Exchange = tuple[Lines, Lines]  # what a user says, and an assistant

CHOICES: dict[str, Lines] = {
    "place": ("library", "mill", "church", "school", "bakery", "station", "orchard", "market hall"),
    "animal": ("goat", "dog", "donkey", "goose", "hen", "cat"),
    "thing": ("boat", "kite", "cart", "bench", "bookcase", "sledge", "shed", "bridge"),
    "tool": ("saw", "hammer", "plane", "chisel", "drill"),
    "stuff": ("oak", "pine", "birch", "willow", "ash"),
    "lost": ("key", "ring", "letter", "scarf", "whistle", "map", "watch", "notebook", "coin"),
    "where": ("under the stairs", "behind the stove", "in the attic", "by the well", "in a coat pocket"),
    "skill": ("swim", "sing", "bake", "ride", "paint", "skate", "dance"),
}

INSTRUCTIONS = (
    "You are a {trait} {job} in {town}.",
    "You work at the {place} of {town} and answer in a sentence or two.",
    "You know everybody in {town}.",
)

SCENES: tuple[tuple[Exchange, ...], ...] = (
    (
        (
            ("When does the {place} of {town} open?", "Is the {place} in {town} open on {day}?"),
            (
                "The {place} of {town} is open on {day} from {number} until {number2}.",
                "On {day} the {place} opens at {number} and closes at {number2}.",
            ),
        ),
        (
            ("Who works there?", "And whom do I ask for?"),
            (
                "Ask for {name}, the {job}, who has worked there for {number3} years.",
                "{name} works there, and on {day} {friend} does.",
            ),
        ),
        (
            ("Can I bring my {animal}?", "May my {animal} come along?"),
            (
                "Your {animal} is welcome at the {place} if it is quiet.",
                "No, your {animal} has to wait in front of the {place}.",
            ),
        ),
    ),
    (
        (
            ("I have lost my {lost}.", "Have you seen my {lost}?", "My {lost} is gone. What can I do?"),
            (
                "Where did you last see the {lost}?",
                "Think hard. When did you last have the {lost}?",
            ),
        ),
        (
            ("In {town}, on {day}.", "On {day}, at the {place}.", "I had it at the {place} in {town}."),
            (
                "Then ask {name}, the {job}. {name} found a {lost} {where}.",
                "Look {where}. {name} once found a {lost} there.",
            ),
        ),
        (
            ("It was there! Thank you.", "I found the {lost} {where}. Thank you!"),
            (
                "I am glad. Keep the {lost} on a nail by the door.",
                "You are welcome. {name} will be glad, too.",
            ),
        ),
    ),
    (
        (
            ("How do I build a {thing}?", "I want to build a {thing} before {month}."),
            (
                "For a {thing} you need {stuff}, a {tool} and {number} days.",
                "Take {stuff} and a {tool}, and measure everything twice.",
            ),
        ),
        (
            ("Where do I get the {stuff}?", "Who sells {stuff}?"),
            (
                "{name} of {town} sells {stuff} every {day}.",
                "Ask {name}, who has a yard near {town}. The {stuff} is good there.",
            ),
        ),
        (
            ("What if it falls apart?", "And if the {thing} breaks?"),
            (
                "Then {friend} will help you. The first {thing} is never the best one.",
                "Build it again. {friend} needed {number2} weeks for the first {thing}.",
            ),
        ),
    ),
    (
        (
            ("How do I get from {town} to {town2}?", "Is it far from {town} to {town2}?"),
            (
                "It is {number} miles from {town} to {town2}, and there is a bus on {day}.",
                "Take the bus to {town2}, or walk. The path is {number} miles long.",
            ),
        ),
        (
            ("What is there to see in {town2}?", "Is {town2} worth a visit?"),
            (
                "The {place} of {town2} is old, and {name} the {job} will show it to you.",
                "Not much but the {place}. The {food} is good, though.",
            ),
        ),
        (
            ("Will there be {weather}?", "What is the weather like there?"),
            (
                "In {month} there is often {weather} in {town2}. Take a coat.",
                "On {day} there was {weather}, but today it is fine.",
            ),
        ),
    ),
    (
        (
            ("Could you teach me to {skill}?", "I would like to learn to {skill}."),
            (
                "Gladly. Come to the {place} on {day}, and we will begin.",
                "It takes {number} weeks to learn to {skill}. Are you patient?",
            ),
        ),
        (
            ("I tried it once and it ended badly.", "I am afraid that I am too old."),
            (
                "So did {name}, who can {skill} better than anyone now.",
                "{name} of {town} said so too, and learned to {skill} in {number} weeks.",
            ),
        ),
        (
            ("What do I have to bring?", "Do I need anything?"),
            (
                "Bring some {food}. We will be hungry afterwards.",
                "Nothing but a little {food} and {number2} free evenings.",
            ),
        ),
    ),
)


def write_dialogues(rng: random.Random, rows: int, seen: set[str]) -> list[list[dict[str, str]]]:
    """`rows` dialogues as lists of messages; none of their texts is in `seen`, to which they are added."""
    dialogues: list[list[dict[str, str]]] = []
    while len(dialogues) < rows:
        messages = write_dialogue(rng)
        text = "\n".join(message["content"] for message in messages)
        if text not in seen:
            seen.add(text)
            dialogues.append(messages)
    return dialogues


def write_dialogue(rng: random.Random) -> list[dict[str, str]]:
    """One dialogue, every third with an instruction to the assistant."""
    scene = rng.choice(SCENES)
    name, friend = rng.sample(words.NAMES, 2)
    slots = Slots(rng, COMMON | CHOICES, name=name, friend=friend)
    messages = []
    if rng.random() < 1 / 3:
        messages.append({"role": "system", "content": slots.fill(rng.choice(INSTRUCTIONS))})
    for asked, answered in scene[: rng.randint(2, len(scene))]:
        messages.append({"role": "user", "content": slots.fill(rng.choice(asked))})
        messages.append({"role": "assistant", "content": slots.fill(rng.choice(answered))})
    return messages
