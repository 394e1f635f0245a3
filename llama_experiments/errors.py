"""Every mistake a user can make ends in one of these: a sentence, not a traceback."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Iterable, Sequence

LISTED = 20  # candidates told at most


class UserError(Exception):
    """Something the user can put right. The message says what is wrong, where, and what would be right."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One wrong setting: its dotted path in the config, a sentence, and where it was set."""

    path: str
    sentence: str
    origin: str = ""

    def at(self, origin: str) -> Mistake:
        """The same mistake, with where it was set."""
        return dataclasses.replace(self, origin=origin)

    def __str__(self) -> str:
        told = f"{self.path}: {self.sentence}" if self.path else self.sentence
        return f"{told}       ({self.origin})" if self.origin else told


# What the libraries that join processes say when one of them is gone.
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Socket closed")


def lost_process(error: BaseException) -> str | None:
    """The sentence for an error that says that another process of the run is gone; None of any other."""
    if isinstance(error, RuntimeError) and any(words in str(error) for words in LOST):
        return "another process of the run has ended without a word: `resume RUN` goes on from the last checkpoint"
    return None


class ConfigError(UserError):
    """All mistakes of a config together."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class SettingError(UserError):
    """Values of one component that break its rules: `[(setting, sentence), ...]`."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{setting} {sentence}" for setting, sentence in self.problems))


def check_settings(*rules: tuple[str, bool, str]) -> None:
    """Check `(setting, holds, what it must be)` triples.

    Raises:
        SettingError: naming every setting whose rule does not hold.
    """
    broken = [(setting, sentence) for setting, holds, sentence in rules if not holds]
    if broken:
        raise SettingError(broken)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate a typo most likely stood for, or None when nothing is close."""
    known = list(candidates)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return close[0]
    # A word that was cut short or is one part of a longer name: `lr_sweeps`, `learning`.
    part = next((name for name in known if len(word) >= 3 and (word in name or name in word)), None)
    if part is not None:
        return part
    # The names of the field: `lr` for `learning_rate`.
    short = {"".join(piece[0] for piece in name.split("_") if piece): name for name in known if "_" in name}
    initials = difflib.get_close_matches(word, short, n=1, cutoff=0.75) if len(word) <= 4 else []
    return short[initials[0]] if initials else None


def offer(word: str, candidates: Iterable[str], what: str) -> str:
    """How to go on after an unknown `word`: the nearest candidate, or all of them."""
    known = sorted(candidates)
    close = nearest(word, known)
    if close is not None:
        return f"did you mean '{close}'?"
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"{what}: {', '.join(known[:LISTED])}{more}" if known else "there is nothing to choose from"


def tell(error: UserError) -> None:
    """Say a mistake to the user, once."""
    if not getattr(error, "told", False):
        from llama_experiments.secrets import hidden

        print(hidden(str(error)), file=sys.stderr, flush=True)
        error.told = True  # type: ignore[attr-defined]
