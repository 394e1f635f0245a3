"""Exact match and F1 on awkward answers, against SQuAD's definition stated a second time, from its words."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from llama_experiments.tasks.squad_metrics import exact_match, f1, normalized

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
# fmt: off
WORDS = [
    "cat", "Cat", "CAT", "cats", "a", "an", "the", "A", "An", "THE", "theatre", "another", "b.c.", "u.s.a", "1,000",
    "£5", "don't", "don’t", "“quoted”", "'", "5%", "...", "?!", "well-known", "well–known", "a-the-an", "the_end",
    "_", "é", "e\u0301", "a\u0301", "E\u0301COLE", "École", "naïve", "Straße", "STRASSE", "İzmir", "ΟΔΟΣ", "日本",
    "の", "🦙", "👩‍👧", "½", "٣", "a\u200d", "\u00ada", "\ufeffthe", "the.", "(a)", "[an]", "a/an", "à", "aːn",
    "\u0301",
]
# fmt: on
SPACES = (" ", "  ", "\t", "\n", "\u00a0", "\u2009", "\u3000", "\r\n", " - ", ", ", "_", "")


def official_words(answer: str) -> list[str]:
    """The words of an answer as the scripts compare them: lower case, no punctuation, no articles."""
    kept = "".join(character for character in answer.lower() if character not in PUNCTUATION)
    # An article is a whole run of letters and digits, whatever stands around the run.
    runs = ("".join(run) for _, run in itertools.groupby(kept, key=str.isalnum))
    return "".join(" " if run in {"a", "an", "the"} else run for run in runs).split()


def official(prediction: str, references: Sequence[str], version: int) -> tuple[float, float]:
    """Exact match and F1: the best over the references, which in version 2 must have words, or be no answer."""
    if version == 2:
        references = [reference for reference in references if official_words(reference)] or [""]
    exact, overlaps = 0.0, []
    for reference in references:
        said, wanted = official_words(prediction), official_words(reference)
        exact = max(exact, 1.0 if said == wanted else 0.0)
        if version == 2 and (not said or not wanted):
            overlaps.append(1.0 if said == wanted else 0.0)
            continue
        left, shared = list(wanted), 0
        for word in said:
            if word in left:
                left.remove(word)
                shared += 1
        if not shared:
            overlaps.append(0.0)
            continue
        precision, recall = shared / len(said), shared / len(wanted)
        overlaps.append(2 * precision * recall / (precision + recall))
    return exact, max(overlaps)


def awkward_answer(draw: random.Random) -> str:
    words = draw.choices(WORDS, k=draw.choice([0, 1, 1, 2, 3, 5, 9]))
    return "".join(draw.choice(SPACES) + word for word in words) + draw.choice(["", *SPACES, ".", "'s"])


def likeness(draw: random.Random, answer: str) -> str:
    """What a model might say for it: more, less, in other case, other order, other dress."""
    words = answer.split()
    if words and draw.random() < 0.5:
        words = words[draw.randrange(len(words)) :] + draw.choices(WORDS, k=draw.randrange(3))
    if draw.random() < 0.2:
        draw.shuffle(words)
    dress = draw.choice(["{}", "The {}", "{}.", '"{}"', "{} (a)", "an\t{}", " {} ", "_{}", "{}'s"])
    return draw.choice([str, str.upper, str.lower, str.title])(dress.format(draw.choice([" ", "  "]).join(words)))


def awkward_cases(count: int) -> list[tuple[str, list[str]]]:
    """Predictions with their references, from none to four of them."""
    draw = random.Random(0)
    cases = []
    for number in range(count):
        references = [awkward_answer(draw) for _ in range(number % 5)]
        near = draw.choice(references) if references else ""
        prediction = draw.choice([near, likeness(draw, near), likeness(draw, near), awkward_answer(draw), ""])
        cases.append((prediction, references))
    return cases


@pytest.mark.parametrize("version", [1, 2])
def test_scores_are_the_official_ones(version: int) -> None:
    cases = [case for case in awkward_cases(5000) if case[1] or version == 2]  # every question has answers in 1.1
    assert len(cases) >= 4000
    found = [(exact_match(*case, version), f1(*case, version)) for case in cases]
    expected = [official(*case, version) for case in cases]
    assert [case for case, ours, theirs in zip(cases, found, expected, strict=True) if ours != theirs] == []
    # The cases decide something: matches, misses, and overlaps between.
    kinds = [(exact, 0 < overlap < 1) for exact, overlap in expected]
    assert min(kinds.count(kind) for kind in ((1.0, False), (0.0, False), (0.0, True))) > 400
    if version == 1:
        assert any(exact == 1 and overlap == 0 for exact, overlap in expected)  # nothing is left of either


def test_what_the_versions_differ_in() -> None:
    cases = [case for case in awkward_cases(5000) if case[1]]
    differing = [(p, r) for p, r in cases if f1(p, r, 1) != f1(p, r, 2)]
    assert len(differing) > 50
    # Only answers without a word tell them apart.
    assert all(
        not official_words(said) or not all(official_words(one) for one in wanted) for said, wanted in differing
    )


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "overlap"),
    [
        ("The Denver Broncos!", ["denver broncos"], 1, 1),
        ("the cat sat", ["a cat sat down"], 0, 4 / 5),
        ("cat cat", ["cat"], 0, 2 / 3),  # a word counts as often as it stands there
        ("dog", ["cat", "the dogs", "Dog."], 1, 1),
        ("b c", ["a b", "c d e", "b c d"], 0, 4 / 5),
        ("dog", ["cat"], 0, 0),
        ("l’été", ["l'été"], 0, 0),  # a curly apostrophe is no ASCII punctuation
        ("École", ["E\u0301cole"], 0, 0),  # nor is anything normalized
        ("well-known", ["well known"], 0, 0),  # punctuation leaves no space behind
        ("日本 ", ["日本"], 1, 1),
    ],
)
def test_scores_worked_out_by_hand(prediction: str, references: list[str], exact: float, overlap: float) -> None:
    for version in (1, 2):
        assert exact_match(prediction, references, version) == exact
        assert f1(prediction, references, version) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("prediction", "references", "first", "second"),
    [
        ("", ["cat"], (0, 0), (0, 0)),
        ("the", ["A."], (1, 0), (1, 1)),  # version 1.1: equal, but no word in common
        ("", ["the", "cat"], (1, 0), (0, 0)),  # version 2.0: a reference without words is none
        ("cat", ["...", "cat"], (1, 1), (1, 1)),
        ("an", ["the"], (1, 0), (1, 1)),
        ("?", [""], (1, 0), (1, 1)),
    ],
)
def test_answers_of_which_nothing_remains(
    prediction: str, references: list[str], first: tuple[float, float], second: tuple[float, float]
) -> None:
    assert (exact_match(prediction, references), f1(prediction, references)) == first
    assert (exact_match(prediction, references, 2), f1(prediction, references, 2)) == second


def test_no_reference_means_that_silence_is_right() -> None:
    assert (exact_match("", [], 2), f1("", [], 2)) == (1, 1)
    assert (exact_match("The...", [], 2), f1("The...", [], 2)) == (1, 1)
    assert (exact_match("cat", [], 2), f1("cat", [], 2)) == (0, 0)


def test_normalized_words() -> None:
    assert normalized("  The\u00a0U.S.A.'s  an-swer_ (a) ") == "usas answer"
    assert normalized("the theatre another Aː") == "theatre another aː"
    assert normalized("A\u0301 b") == "\u0301 b"  # the mark is no letter, so the article before it is one
