"""Prompts: templates, texts cut to a number of tokens, and as much of both as fits into what a model reads."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples
    from llama_experiments.tasks.base import Prompting

T = TypeVar("T")

ANSWER_TEMPLATE = "Passage: {context}\nQuestion: {question}\nAnswer:"

FEWER = "with fewer examples than asked for, since no more fit"


def places(template: str) -> set[str]:
    """The names of a template's places; none where it is no template."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError:
        return set()


def answer_rules(template: str, no_answer: str) -> list[tuple[str, bool, str]]:
    """The rules of what a question is put in, for `check_settings`."""
    both = places(template) == {"context", "question"}
    return [
        ("template", both, "must have the places {context} and {question}, no others"),
        ("no_answer", bool(no_answer.strip()), "must be a text"),
    ]


def uncalibrated(prompting: Prompting) -> Prompting:
    """How a task without classes is put.

    Raises:
        UserError: what the model says of no text is to be taken off, which is said of classes.
    """
    if prompting.calibrate:
        raise UserError("technique.calibrate: this task has no classes between which to calibrate; set it to false")
    return prompting


def context_of(prompting: Prompting, positions: int) -> int:
    """Tokens of a whole prompt at most.

    Raises:
        UserError: more are asked for than the model reads.
    """
    if prompting.context is not None and prompting.context > positions:
        raise UserError(
            f"technique.context: {prompting.context} tokens are more than the model's {positions} positions"
        )
    return prompting.context or positions


def largest(most: int, made: Callable[[int], T | None]) -> tuple[int, T] | None:
    """The largest number from 0 to `most` of which something can be made, with what was made.

    What can be made of a number can be made of smaller ones.
    """
    if most < 0:
        return None
    if (found := made(most)) is not None:
        return most, found
    best, low, high = None, 0, most - 1
    while low <= high:
        middle = (low + high + 1) // 2
        if (found := made(middle)) is None:
            high = middle - 1
        else:
            best, low = (middle, found), middle + 1
    return best


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A text and where each of its tokens begins and ends in it."""

    text: str
    places: list[tuple[int, int]]
    special: int  # tokens that the tokenizer writes around any text

    @classmethod
    def of(cls, text: str, tokenizer: PreTrainedTokenizerFast) -> Pieces:
        """The text's pieces, as it is tokenized alone."""
        encoding = tokenizer.backend_tokenizer.encode(text)
        mask = encoding.special_tokens_mask
        return cls(
            text, [place for place, special in zip(encoding.offsets, mask, strict=True) if not special], sum(mask)
        )

    def __len__(self) -> int:
        return len(self.places)

    def first(self, tokens: int) -> str:
        """The text's beginning, of at most so many tokens. A character of several tokens is not cut in two."""
        if tokens >= len(self):
            return self.text
        return self.text[: min(self.places[tokens - 1][1], self.places[tokens][0])] if tokens > 0 else ""

    def last(self, tokens: int) -> str:
        """The text's end, of at most so many tokens."""
        if tokens >= len(self):
            return self.text
        return self.text[max(self.places[-tokens][0], self.places[-tokens - 1][1]) :] if tokens > 0 else ""


def fewer(examples: Examples, asked: int) -> dict[str, np.ndarray]:
    """A finding on lengths: the rows before which fewer solved examples stand than were asked for. [rows] of bool."""
    import numpy as np

    lacking = examples.fixed["shown"] < asked
    return {FEWER: np.bincount(examples.fixed["row"], weights=lacking, minlength=len(examples.rows)) > 0}
