"""The best spans: of a window as trying all of them finds, of a question over all its windows, against silence."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.tasks.question_answering import best_threshold
from llama_experiments.tasks.spans import Span, best_spans, spans_of_rows
from llama_experiments.tasks.squad_metrics import f1

INFINITY = float("inf")


def log_probabilities(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Starts and ends as a model gives them, [batch, length]: -inf in the padding."""
    logits = torch.randn(2, len(lengths), max(lengths), generator=torch.Generator().manual_seed(seed)) * 3
    padding = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    start, end = logits.masked_fill(padding, -INFINITY).log_softmax(dim=-1)
    return start, end


def all_spans(
    start: torch.Tensor, end: torch.Tensor, may_start: torch.Tensor, may_end: torch.Tensor, longest: int
) -> list[tuple[float, int, int]]:
    """Every span of a window, the best first."""
    firsts, lasts = (np.flatnonzero(allowed.numpy()) for allowed in (may_start, may_end))
    spans = [(float(start[a] + end[b]), int(a), int(b)) for a in firsts for b in lasts if a <= b < a + longest]
    return sorted(spans, reverse=True)


def between(length: int, first: int, last: int) -> torch.Tensor:
    """1 from `first` to before `last`."""
    position = torch.arange(length)
    return ((position >= first) & (position < last)).long()


@pytest.mark.parametrize("n_best", [1, 5, 20, 500])
@pytest.mark.parametrize("longest", [1, 2, 7, 30, 100])
def test_the_best_spans_are_those_that_trying_all_finds(longest: int, n_best: int) -> None:
    lengths, firsts = [23, 9, 17, 4, 23], [5, 3, 1, 2, 21]
    start, end = log_probabilities(lengths)
    lasts = [length - 1 for length in lengths]
    context = torch.stack([between(23, first, last) for first, last in zip(firsts, lasts, strict=True)])
    # In the first two windows everywhere in the context, in the others at some places alone.
    draw = torch.Generator().manual_seed(1)
    some = [context * (torch.rand(5, 23, generator=draw) < torch.tensor([[1.0, 1, 0.5, 0.5, 0.7]]).T) for _ in "ab"]
    found = best_spans(start, end, *some, torch.tensor(lasts), longest, n_best)
    for row, last in enumerate(lasts):
        expected = all_spans(start[row], end[row], some[0][row], some[1][row], longest)[:n_best]
        spans = zip(*(found[name][row].tolist() for name in ("span_score", "span_start", "span_end")), strict=True)
        ours = [span for span in spans if span[0] > -INFINITY]
        assert ours == expected
        assert found["span_score"].shape == (5, n_best)
        assert found["span_score"][row, len(expected) :].eq(-INFINITY).all()
        assert float(found["null_score"][row]) == float(start[row, last] + end[row, last])


def test_padding_beside_a_window_changes_none_of_its_spans() -> None:
    start, end = log_probabilities([12])
    context, null = between(12, 4, 11)[None], torch.tensor([11])
    alone = best_spans(start, end, context, context, null, 5, 60)
    wider = [torch.nn.functional.pad(each, (0, 9), value=-INFINITY) for each in (start, end)]
    context = torch.nn.functional.pad(context, (0, 9))
    padded = best_spans(*wider, context, context, null, 5, 60)
    real = alone["span_score"] > -INFINITY
    assert int(real.sum()) == 7 + 6 + 5 + 4 + 3  # spans of one to five tokens in seven
    assert all(
        torch.equal(alone[name][real], padded[name][real]) for name in ("span_score", "span_start", "span_end")
    )
    assert torch.equal(alone["null_score"], padded["null_score"])


def examples_of(windows: list[tuple[int, list[tuple[int, int]]]], contexts: list[str]) -> Examples:
    """Windows as (row, places of its tokens)."""
    table = {
        "input_ids": [[7] * len(places) for _, places in windows],
        "char_start": [[start for start, _ in places] for _, places in windows],
        "char_end": [[end for _, end in places] for _, places in windows],
        "row": [row for row, _ in windows],
        "count": [1] * len(windows),
    }
    rows = Rows(
        "validation", "made.json", datasets.Dataset.from_dict({"context": contexts}), np.arange(len(contexts)) + 1, {}
    )
    return Examples(pa.table(table), rows, ("char_start", "char_end"))


def predictions_of(spans: list[list[tuple[int, int, float]]], null: list[float]) -> dict[str, np.ndarray]:
    """Spans of windows as (first token, last token, score), to the width of the longest list."""
    width = max(map(len, spans))
    full = [[*window, *[(0, 0, -INFINITY)] * (width - len(window))] for window in spans]
    return {
        "span_start": np.array([[span[0] for span in window] for window in full]),
        "span_end": np.array([[span[1] for span in window] for window in full]),
        "span_score": np.array([[span[2] for span in window] for window in full], dtype=np.float32),
        "null_score": np.array(null, dtype=np.float32),
    }


def test_the_best_spans_of_a_question_come_from_any_of_its_windows() -> None:
    contexts = ["red green blue", "one two"]
    words, spaced = [(0, 3), (4, 9), (10, 14)], [(0, 3), (3, 7)]  # the second context's tokens begin with the space
    outside = (0, 0)
    examples = examples_of(
        [(0, [outside, *words[:2], outside]), (0, [outside, *words[1:], outside]), (1, [outside, *spaced, outside])],
        contexts,
    )
    predictions = predictions_of(
        [[(1, 2, -1.0), (2, 2, -2.0), (1, 1, -4.0)], [(2, 2, -0.5), (1, 1, -1.5)], [(2, 2, -0.25), (1, 2, -3.0)]],
        [-0.5, -3.0, -0.125],
    )
    spans, null = spans_of_rows(predictions, examples, contexts, n_best=3)
    assert spans == [
        [
            Span("blue", 10, 14, -0.5),
            Span("red green", 0, 9, -1.0),
            Span("green", 4, 9, -1.5),
        ],  # 'green' once, its best
        [Span("two", 4, 7, -0.25), Span("one two", 0, 7, -3.0)],
    ]
    assert null == [-3.0, -0.125]  # no answer only where no window has one


def test_spaces_alone_are_no_answer_and_a_question_may_have_no_window() -> None:
    contexts = ["a  b", "long question"]
    examples = examples_of([(0, [(0, 1), (1, 3), (3, 4)])], contexts)
    spans, null = spans_of_rows(
        predictions_of([[(1, 1, -1.0), (1, 2, -2.0), (2, 2, -3.0), (0, 1, -4.0)]], [-9.0]), examples, contexts, 20
    )
    assert spans == [[Span("b", 3, 4, -2.0), Span("a", 0, 1, -4.0)], []]
    assert null == [-9.0, INFINITY]


def made_table(draw: np.random.Generator, questions: int) -> dict[str, list[object]]:
    """Spans that are right, half right or wrong, questions without an answer, and margins that often are equal."""
    references = [[["a b c"], ["b"], []][draw.integers(3)] for _ in range(questions)]
    spans = [["a b c", "b", "d e", "b c", ""][draw.integers(5)] for _ in range(questions)]
    margins = draw.integers(-4, 4, questions).astype(float)
    for question in np.flatnonzero(draw.random(questions) < 0.1)[1:]:  # some have no window, and so no span
        spans[question], margins[question] = "", INFINITY
    return {"references": references, "best_span": spans, "null_margin": margins.tolist()}


def mean_f1(table: dict[str, list[object]], threshold: float) -> float:
    """As a run with this threshold would report it."""
    rows = zip(table["best_span"], table["references"], table["null_margin"], strict=True)
    return float(np.mean([f1("" if margin > threshold else span, known, 2) for span, known, margin in rows]))  # type: ignore[arg-type, operator]


def test_the_best_threshold_is_the_one_that_trying_all_finds() -> None:
    draw = np.random.default_rng(0)
    silent = 0
    for _ in range(300):
        table = made_table(draw, int(draw.integers(1, 12)))
        best, threshold = best_threshold(table)
        tried = [mean_f1(table, margin) for margin in [-1e9, *table["null_margin"]]]  # type: ignore[arg-type]
        assert best == pytest.approx(max(tried), abs=1e-12)
        assert mean_f1(table, threshold) == pytest.approx(best, abs=1e-12)
        silent += threshold < min(table["null_margin"])  # type: ignore[type-var]
    assert 30 < silent < 270  # sometimes to answer nothing is best
