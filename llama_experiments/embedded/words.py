"""The vocabulary of the embedded corpus, and how templates are filled from it.

A template is a plain string with `{slots}`. A slot is drawn when it is first met and keeps its value for the rest
of the document, so whoever or whatever is named once can be named again; `{name2}` is a second draw from the same
words as `{name}`, and always a different one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence


def listed(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


GOOD_ADJECTIVES = listed(
    """beautiful brilliant charming cheerful clever delightful elegant enjoyable excellent gorgeous graceful
    impressive inspired lovely magnificent marvellous memorable outstanding pleasing polished refreshing remarkable
    rewarding splendid stunning superb tasteful terrific thoughtful wonderful"""
)
BAD_ADJECTIVES = listed(
    """annoying appalling awful bleak boring careless clumsy disappointing dismal drab dreadful dreary dull feeble
    flimsy frustrating gloomy hopeless irritating lifeless miserable muddled pointless poor shabby sloppy tedious
    terrible tiresome unpleasant"""
)
GOOD_NOUNS = ("delight", "joy", "treat", "triumph", "pleasure", "gem", "marvel", "success")
BAD_NOUNS = ("bore", "mess", "chore", "letdown", "muddle", "slog", "nuisance", "failure")
GOOD_VERBS = ("delighted me", "charmed me", "won me over", "thrilled me", "pleased me", "impressed me")
BAD_VERBS = ("bored me", "annoyed me", "let me down", "wore me out", "irritated me", "put me off")

WOMEN = listed(
    """Ada Agnes Bea Clara Dora Edith Elsa Flora Greta Hazel Ida Ines Iris June Karin Lena Mabel Marta Mina Nell Nora
    Olga Petra Rosa Ruth Selma Tilda Vera Wanda Yasmin"""
)
MEN = listed(
    """Abel Albert Arno Basil Boris Cyril Dario Edgar Emil Felix Gideon Hugo Ivan Jonas Karl Leo Magnus Milo Ned
    Oscar Otto Pavel Ralph Rufus Samir Stefan Tomas Victor Walter Yusuf"""
)
NAMES = tuple(sorted(WOMEN + MEN))
SURNAMES = listed(
    """Abbot Arden Birch Calder Crane Dunmore Ekholm Farrow Fenwick Garland Halloway Hobbs Ingram Jessop Kestrel
    Lindqvist Marlow Moss Nettle Okafor Pellam Quill Ravel Rowan Sable Tanner Thorne Umber Vance Wick Winter
    Yarrow"""
)
TOWN_STARTS = listed("""Al Bram Cold Dun Elm Fen Gray Harn Ived Kel Lark Mar Nor Oak Pen Quor Red Stan Tor Wes""")
TOWN_ENDS = listed("bury by combe dale field ford ham haven leigh mere mouth stead ton wick worth")
TOWNS = tuple(sorted(start + end for start in TOWN_STARTS for end in TOWN_ENDS))
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = listed("""January February March April May June July August September October November December""")
RELATIONS = tuple(
    f"my {relation}"
    for relation in listed("sister brother aunt uncle neighbour cousin mother father boss dentist flatmate teacher")
)
NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class Slots(dict[str, str]):
    """The values of one document's slots, drawn from `choices` when `str.format_map` first asks for them."""

    def __init__(self, rng: random.Random, choices: Mapping[str, Sequence[str]], **given: str) -> None:
        super().__init__(given)
        self.rng = rng
        self.choices = choices

    def __missing__(self, slot: str) -> str:
        family = slot.rstrip("0123456789")
        taken = {value for key, value in self.items() if key.rstrip("0123456789") == family}
        self[slot] = self.rng.choice([word for word in self.choices[family] if word not in taken])
        return self[slot]

    def fill(self, template: str) -> str:
        """The template with its slots filled, as a sentence should look."""
        return tidy(template.format_map(self))


def tidy(text: str) -> str:
    """Sentences begin with a capital, and `a` is `an` before a vowel (no word here begins with a spoken `yu`)."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda found: found[1] + found[2].upper(), text)
