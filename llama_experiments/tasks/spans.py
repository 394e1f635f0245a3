"""Spans of a context: long contexts cut into windows, and the best spans that a model sees in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llama_experiments.data.answers import Answers

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples


@dataclasses.dataclass(frozen=True)
class Window:
    """A question and a part of its context, as an example."""

    input_ids: list[int]  # question, context, end of text
    char_start: list[int]  # for each token its place in the context; 0 outside of it
    char_end: list[int]
    may_start: list[int]  # 1 for each token at which an answer may start; 0 outside of the context
    may_end: list[int]
    first: int  # the context's first token; its last is the one before the last
    start: int  # the answer's first and last token; both the last token where the window does not hold it all
    end: int
    row: int
    count: int = 1


def windows(
    question: str,
    context: str,
    answers: Answers,
    row: int,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    stride: int,
) -> Iterator[Window]:
    """The windows of one row; none where the question leaves no room for a context.

    Args:
        max_length: tokens of a window.
        stride: tokens of the context that neighbouring windows share; fewer where the question leaves less room.
    """
    backend = tokenizer.backend_tokenizer
    question_ids = backend.encode(f"{question}\n").ids
    end_id = tokenizer.eos_token_id
    if end_id is None:
        end_id = backend.encode("\n", add_special_tokens=False).ids[-1]
    elif question_ids[-1] == end_id:  # some tokenizers end every text
        question_ids = question_ids[:-1]
    encoding = backend.encode(context, add_special_tokens=False)
    ids, places = encoding.ids, encoding.offsets
    may_start, may_end = edges(context, places)
    first = len(question_ids)
    room = max_length - first - 1
    if room < 1:
        return
    span = token_span(places, _stripped(context, *answers.spans[0])) if answers.spans else None
    shared = min(stride, room - 1)
    for at in range(0, max(1, len(ids) - shared), room - shared):
        part = slice(at, at + room)
        input_ids = [*question_ids, *ids[part], end_id]
        start = end = len(input_ids) - 1
        if span is not None and at <= span[0] and span[1] < at + len(ids[part]):
            start, end = (first + place - at for place in span)
        yield Window(
            input_ids=input_ids,
            char_start=[0] * first + [place[0] for place in places[part]] + [0],
            char_end=[0] * first + [place[1] for place in places[part]] + [0],
            may_start=[0] * first + may_start[part] + [0],
            may_end=[0] * first + may_end[part] + [0],
            first=first,
            start=start,
            end=end,
            row=row,
        )


def token_span(places: Sequence[tuple[int, int]], span: tuple[int, int]) -> tuple[int, int] | None:
    """The first and the last token that share a character with `span`; `places` are the tokens' own."""
    touching = [at for at, (start, end) in enumerate(places) if start < span[1] and end > span[0]]
    return (touching[0], touching[-1]) if touching else None


def edges(context: str, places: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """For each token whether an answer may start at it, and whether it may end at it.

    Neither at spaces alone nor, where a character is several tokens, within it: no two spans are the same text.
    """
    stripped = [_stripped(context, *place) for place in places]
    words = [at for at, (start, end) in enumerate(stripped) if start < end]
    first = set({stripped[at][0]: at for at in reversed(words)}.values())
    last = set({stripped[at][1]: at for at in words}.values())
    return [int(at in first) for at in range(len(places))], [int(at in last) for at in range(len(places))]


def best_spans(
    start: torch.Tensor,
    end: torch.Tensor,
    may_start: torch.Tensor,
    may_end: torch.Tensor,
    null: torch.Tensor,
    max_tokens: int,
    n_best: int,
) -> dict[str, torch.Tensor]:
    """The best spans of each window, and the score of there being none.

    Args:
        start: [batch, length] log-probability of each position to be an answer's first; `end` likewise the last.
        may_start: [batch, length] not 0 for each position at which an answer may start; `may_end` likewise.
        null: [batch] the position that stands for no answer.
        max_tokens: of a span.
        n_best: spans of a window.

    Returns:
        `span_start`, `span_end` [batch, n_best] positions and `span_score` [batch, n_best] log-probabilities, best
        first, -inf where there are no more; `null_score` [batch].
    """
    import torch

    starts = start.masked_fill(may_start == 0, -torch.inf)
    ends = torch.nn.functional.pad(end.masked_fill(may_end == 0, -torch.inf), (0, max_tokens - 1), value=-torch.inf)
    scores = (starts[:, :, None] + ends.unfold(1, max_tokens, 1)).flatten(1)  # [batch, length * max_tokens]
    found = scores.topk(min(n_best, scores.shape[1]), dim=1)
    missing = (0, n_best - found.values.shape[1])
    span_start = found.indices // max_tokens
    return {
        "span_start": torch.nn.functional.pad(span_start, missing),
        "span_end": torch.nn.functional.pad(span_start + found.indices % max_tokens, missing),
        "span_score": torch.nn.functional.pad(found.values, missing, value=-torch.inf),
        "null_score": (start + end).gather(1, null[:, None])[:, 0],
    }


@dataclasses.dataclass(frozen=True)
class Span:
    """A possible answer: its place in the context, in characters, and its log-probability."""

    text: str
    start: int
    end: int
    score: float


NOTHING = Span("", 0, 0, -float("inf"))


def spans_of_rows(
    predictions: dict[str, np.ndarray], examples: Examples, contexts: Sequence[str], n_best: int
) -> tuple[list[list[Span]], list[float]]:
    """For each row the best spans over all its windows, best first, and the lowest score of there being none."""
    spans: list[dict[tuple[int, int], Span]] = [{} for _ in contexts]
    null_scores = [float("inf")] * len(contexts)
    (char_start, offsets), (char_end, _) = examples.ragged["char_start"], examples.ragged["char_end"]
    for window, row in enumerate(examples.fixed["row"]):
        null_scores[row] = min(null_scores[row], float(predictions["null_score"][window]))
        scores = predictions["span_score"][window]
        for place in range(int((scores > -float("inf")).sum())):
            first = offsets[window] + predictions["span_start"][window, place]
            last = offsets[window] + predictions["span_end"][window, place]
            start, end = _stripped(contexts[row], int(char_start[first]), int(char_end[last]))
            known = spans[row].get((start, end))
            if start < end and (known is None or known.score < scores[place]):
                spans[row][start, end] = Span(contexts[row][start:end], start, end, float(scores[place]))
    best = [sorted(found.values(), key=lambda span: (-span.score, span.start, span.end))[:n_best] for found in spans]
    return best, null_scores


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the spaces at its ends: many tokens begin with the space before them, an answer does not."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
