"""Nearly the same texts are found, and measured by what they have in common."""

from __future__ import annotations

import random

import pytest

from llama_experiments.data.near_duplicates import ALIKE, jaccard, near_duplicates, pieces

WORDS = [
    f"{start}{middle}{end}" for start in "bdfklm" for middle in ("ar", "emo", "ilu") for end in ("n", "sto", "ve")
]


def text(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def exactly(one: str, other: str) -> float:
    """The similarity by Python's sets."""
    sets = [{text[at : at + 5] for at in range(max(1, len(text) - 4))} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [(text(1), text(1) + " and more"), (text(1), text(2)), ("abc", "abc"), ("abc", "abcd"), ("", ""),
     ("abcdef", "abcde"), ("Straße 東京 👍🏽", "Straße 東京 👍"), ("aaaaaaaaaa", "aaaaaa")],
)  # fmt: skip
def test_similarity_is_of_the_sets_of_pieces(one: str, other: str) -> None:
    assert jaccard(pieces(one), pieces(other)) == exactly(one, other)


def test_all_pairs_from_the_threshold_on_are_found_and_no_others() -> None:
    """Each text with 0 to 12 words changed: similarities from 1 to 0.5."""
    left, right = [], []
    for seed in range(100):
        words = text(seed).split()
        left.append(" ".join(words))
        for place in random.Random(seed).sample(range(60), seed % 13):
            words[place] = "other"
        right.append(" ".join(words))
    similar = [exactly(*pair) for pair in zip(left, right, strict=True)]
    expected = {place: similarity for place, similarity in enumerate(similar) if similarity >= ALIKE}
    assert 20 < len(expected) < 80
    found = near_duplicates(iter(left), iter(right))
    assert {pair.left: pair.similarity for pair in found} == expected
    assert all(pair.left == pair.right for pair in found)


def test_the_first_of_several_is_told_and_each_text_once() -> None:
    texts = [text(1), text(2)]
    found = near_duplicates(iter(texts), iter([text(3), texts[1] + " x", texts[1], texts[1] + " y"]))
    assert [(pair.left, pair.right) for pair in found] == [(1, 1)]
    assert ALIKE < found[0].similarity < 1


def test_texts_alike_by_chance_are_measured_and_not_told() -> None:
    """Texts of a template have half of their pieces in common, and there are many of them."""
    beginning = text(0, 30)
    left, right = ([f"{beginning} {text(seed, 30)}" for seed in range(start, start + 60)] for start in (1, 100))
    assert 0.3 < exactly(left[0], right[0]) < 0.8
    assert near_duplicates(iter(left), iter(right)) == []


def test_nothing_on_a_side() -> None:
    assert near_duplicates(iter([]), iter(["a text"])) == []
    assert near_duplicates(iter(["a text"]), iter([])) == []
