"""Texts that are nearly the same, found by MinHash and then measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

PIECE = 5  # characters: two texts are as alike as the sets of their pieces (Jaccard)
ALIKE = 0.8  # from this similarity on texts are near duplicates
BANDS, BAND = 14, 5  # of 70 minima; texts of similarity 0.8 share a band with a probability of 0.996
MULTIPLIER, MIXER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
LIKELY = 0.6  # similarity by the minima below which none is measured: 4 standard deviations below 0.8


@dataclasses.dataclass(frozen=True)
class Pair:
    """A text on the left and its near duplicate on the right, by their places."""

    left: int
    right: int
    similarity: float


def near_duplicates(left: Iterator[str], right: Iterator[str]) -> list[Pair]:
    """For each text of `left` that has a near duplicate in `right` the first one, in the order of `left`.

    Only `left` is held in memory. Broder 1997 (MinHash); Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
    chapter 3 (bands).
    """
    from datasketch import MinHash, MinHashLSH

    permutations = MinHash(num_perm=BANDS * BAND).permutations

    def sketch(found: np.ndarray) -> MinHash:
        made = MinHash(permutations=permutations, num_perm=BANDS * BAND, hashfunc=int, scheme="affine32")
        made.update_batch(found.tolist())
        return made

    index = MinHashLSH(num_perm=BANDS * BAND, params=(BANDS, BAND))
    known, minima = [], []
    for place, text in enumerate(left):
        known.append(pieces(text))
        minima.append((made := sketch(known[-1])).hashvalues)
        index.insert(place, made, check_duplication=False)
    table = np.stack(minima) if minima else np.zeros((0, BANDS * BAND))
    pairs: dict[int, Pair] = {}
    for place, text in enumerate(right):
        if len(pairs) == len(known):
            break
        found = pieces(text)
        made = sketch(found)
        candidates = np.array(sorted(set(index.query(made)) - pairs.keys()), dtype=int)
        likely = (table[candidates] == made.hashvalues).mean(axis=1) >= LIKELY
        for candidate in candidates[likely].tolist():
            if (similarity := jaccard(known[candidate], found)) >= ALIKE:
                pairs[candidate] = Pair(candidate, place, similarity)
    return [pairs[place] for place in sorted(pairs)]


def pieces(text: str) -> np.ndarray:
    """The set of a text's pieces of `PIECE` characters as hashes, sorted, of uint32; a shorter text is one piece."""
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    characters = np.pad(characters, (0, max(0, PIECE - len(characters))))
    hashes = np.zeros(len(characters) - PIECE + 1, dtype=np.uint64)
    for place in range(PIECE):  # a polynomial, modulo 2 to the 64
        hashes = hashes * MULTIPLIER + characters[place : place + len(hashes)]
    return np.unique((hashes * MIXER) >> np.uint64(32)).astype(np.uint32)


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """What two sets have in common as a share of what they have together; each sorted and without repetitions."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)
