"""Cutting texts by tokens, and the largest number that fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from llama_experiments.tasks.prompts import Pieces, largest, places
from tests.tasks.tokenizers import byte_tokenizer, sentencepiece_tokenizer


@pytest.mark.parametrize("most", [0, 1, 2, 3, 10, 64])
def test_the_largest_that_fits_is_found(most: int) -> None:
    for limit in range(-1, most + 1):
        found = largest(most, lambda number: f"made {number}" if number <= limit else None)  # noqa: B023
        assert found == (None if limit < 0 else (limit, f"made {limit}"))
    assert largest(-1, lambda number: number) is None


def test_what_fits_whole_is_tried_once() -> None:
    tried: list[int] = []
    assert largest(1000, lambda number: tried.append(number) or number) == (1000, 1000)
    assert tried == [1000]


@pytest.fixture(params=[sentencepiece_tokenizer, byte_tokenizer])
def tokenizer(request: pytest.FixtureRequest, tokenizer_folder: Path, tmp_path: Path) -> PreTrainedTokenizerFast:
    make: Callable[..., PreTrainedTokenizerFast] = request.param
    return make(tokenizer_folder if make is sentencepiece_tokenizer else tmp_path / "bytes", None)


@pytest.mark.parametrize("text", ["the film was lovely and warm", " a  b ", "né 東京 🙂🙂 x", ""])
def test_a_text_is_cut_to_so_many_tokens(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Of the first tokens' own text, but for a character of several tokens, which is left out whole."""
    pieces = Pieces.of(text, tokenizer)
    whole = tokenizer.backend_tokenizer.encode(text)
    assert pieces.special + len(pieces) == len(whole.ids)
    for tokens in range(len(pieces) + 2):
        first, last = pieces.first(tokens), pieces.last(tokens)
        assert text.startswith(first)
        assert text.endswith(last)
        assert sum(end <= len(first) for _, end in pieces.places) <= max(tokens, 0) or not first
        assert sum(start >= len(text) - len(last) for start, _ in pieces.places) <= tokens
    assert pieces.first(len(pieces)) == pieces.last(len(pieces)) == text
    assert pieces.first(0) == pieces.last(0) == ""


def test_a_cut_leaves_as_much_as_may_stay(tokenizer_folder: Path) -> None:
    tokenizer = sentencepiece_tokenizer(tokenizer_folder, None)
    text = "the film was lovely and warm"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = Pieces.of(text, tokenizer)
    for tokens in range(1, len(ids)):
        assert tokenizer.decode(ids[:tokens]).strip() == pieces.first(tokens).strip()
        assert tokenizer.decode(ids[-tokens:]).strip() == pieces.last(tokens).strip()


@pytest.mark.parametrize(
    ("template", "found"),
    [("{a} and {b}", {"a", "b"}), ("none", set()), ("{{a}}", set()), ("{a", set()), ("{}", {""})],
)
def test_the_places_of_a_template(template: str, found: set[str]) -> None:
    assert places(template) == found
