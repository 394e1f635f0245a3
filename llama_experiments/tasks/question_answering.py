"""Extractive question answering: an answer is a span of the context."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from llama_experiments.data.answers import Answers, located, why_unusable
from llama_experiments.errors import check_settings
from llama_experiments.tasks.base import Output, Prompting, Task, recast
from llama_experiments.tasks.prompts import ANSWER_TEMPLATE, answer_rules, uncalibrated
from llama_experiments.tasks.spans import NOTHING, Window, best_spans, spans_of_rows, windows
from llama_experiments.tasks.squad_metrics import exact_match, f1
from llama_experiments.tasks.trunk import hidden_states

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples
    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.asking import Asked
    from llama_experiments.tasks.guesses import AnySpan
    from llama_experiments.tasks.prompted_question_answering import PromptedQuestionAnswering


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnswering(Task):
    """`LlamaForQuestionAnswering` on the columns `question`, `context` and `answers`.

    The question comes first, so that a causal model has read it when it reads the context. A context too long for
    `max_length` becomes windows that share `stride` tokens. Every window ends in the end-of-text token, at which the
    model has read all of it: the place that stands for *no answer here* (Devlin et al. 2018 take the first token,
    where a causal model knows nothing). An item of the loss is a window: the mean of the cross-entropies of its
    start and its end over all its positions.
    """

    name: ClassVar[str] = "extractive question answering"
    columns: ClassVar[tuple[str, ...]] = ("question", "context", "answers")
    item: ClassVar[str] = "window"
    head: ClassVar[tuple[str, ...]] = ("qa_outputs.",)
    metric: ClassVar[str] = "f1"
    higher_is_better: ClassVar[bool] = True
    shared_column: ClassVar[str | None] = "context"
    beside: ClassVar[tuple[str, ...]] = ("char_start", "char_end")

    max_length: int = 512  # tokens of question and context together
    stride: int = 128  # tokens of the context that neighbouring windows share
    max_answer_tokens: int = 30  # longer spans are no answers; of an answer that is written at most
    n_best: int = 20  # spans of a question that are kept in predictions.parquet
    null_threshold: float = 0.0  # no answer where its score is higher than the best span's by more than this, in nats
    # Where the model is only asked (technique=prompt), and writes its answer:
    template: str = ANSWER_TEMPLATE  # what the answer follows, after a space
    no_answer: str = "no answer"  # what is said where a question has none

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            ("stride", 0 <= self.stride < self.max_length, f"must be from 0 to below max_length ({self.max_length})"),
            ("max_answer_tokens", self.max_answer_tokens >= 1, "must be at least 1"),
            ("n_best", self.n_best >= 1, "must be at least 1"),
            ("null_threshold", math.isfinite(self.null_threshold), "must be a number"),
            *answer_rules(self.template, self.no_answer),
        )

    @property
    def content(self) -> tuple[str, ...]:
        return ("question", "context")

    @property
    def passages(self) -> tuple[str, ...]:
        return ("context",)

    def reasons_to_leave_out(self, columns: dict[str, list[Any]]) -> list[str | None]:
        return [
            why_unusable(question, context, answers)
            for question, context, answers in zip(
                columns["question"], columns["context"], columns["answers"], strict=True
            )
        ]

    def prompted(self, prompting: Prompting) -> PromptedQuestionAnswering:
        """All questions, whose answers the language model writes."""
        from llama_experiments.tasks.prompted_question_answering import PromptedQuestionAnswering

        return PromptedQuestionAnswering(
            max_length=self.max_length,
            template=self.template,
            no_answer=self.no_answer,
            answer_tokens=self.max_answer_tokens,
            generated_examples=None,
            prompting=uncalibrated(prompting),
        )

    def guessed(self) -> AnySpan:
        from llama_experiments.tasks.guesses import AnySpan

        return recast(self, AnySpan)

    def prepared(self, rows: Rows) -> Rows:
        return located(rows)

    def model_class(self) -> type[PreTrainedModel]:
        from transformers import LlamaForQuestionAnswering

        return cast("type[PreTrainedModel]", LlamaForQuestionAnswering)

    def key_mapping(self) -> dict[str, str]:
        # transformers calls this trunk `transformer` and, without being told, would load none of a causal one.
        return {r"^model\.": "transformer."}

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {"stride": self.stride}

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        rows = zip(columns["question"], columns["context"], columns["answers"], strict=True)
        encoded = [
            window
            for row, (question, context, answers) in enumerate(rows, first_row)
            for window in windows(
                question,
                context,
                Answers(answers["text"], answers["answer_start"]),
                row,
                tokenizer,
                self.max_length,
                self.stride,
            )
        ]
        names = [field.name for field in dataclasses.fields(Window)]
        return {name: [getattr(window, name) for window in encoded] for name in names}

    def row_tokens(self, examples: Examples) -> np.ndarray:
        import numpy as np

        row, first = examples.fixed["row"], examples.fixed["first"]
        room = self.max_length - first - 1  # of a window, for the context
        step = room - np.minimum(self.stride, room - 1)  # from a window to the next
        before = np.arange(len(row)) - np.searchsorted(row, row)  # windows of the same row; rows are in order
        tokens = np.zeros(len(examples.rows), dtype=np.int64)
        tokens[row] = examples.lengths + before * step  # the last window of a row is the one that stays
        return tokens

    def length_findings(self, examples: Examples) -> dict[str, np.ndarray]:
        import numpy as np

        row = examples.fixed["row"]
        held = examples.fixed["end"] < examples.lengths - 1  # [windows] whether one holds an answer whole
        windows, holding = (np.bincount(row[which], minlength=len(examples.rows)) for which in (held >= 0, held))
        answered = np.array([len(answers["text"]) > 0 for answers in examples.rows.table["answers"]])
        return {
            "cut into windows": windows > 1,
            "with an answer that no window holds whole": answered & (windows > 0) & (holding == 0),
            "with a question that leaves no room for the context": windows == 0,
        }

    def logits(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """What speaks for each position to be an answer's first and its last, [batch, length, 2] in fp32."""
        hidden = hidden_states(model.transformer, batch)  # [batch, length, hidden]
        return cast("torch.Tensor", model.qa_outputs(hidden).float())

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        import torch

        logits = self.logits(model, batch)
        real = torch.arange(logits.shape[1], device=logits.device) < batch["lengths"][:, None]  # [batch, length]
        log_probabilities = logits.masked_fill(~real[:, :, None], -torch.inf).log_softmax(dim=1)
        start, end = log_probabilities.unbind(dim=-1)  # each [batch, length]
        labels = torch.stack([batch["start"], batch["end"]])  # [2, batch]
        losses = -(start.gather(1, labels[0][:, None]) + end.gather(1, labels[1][:, None]))[:, 0] / 2
        predictions = {"loss": losses.detach()}
        if not model.training:
            edges = (batch["may_start"], batch["may_end"])
            null = batch["lengths"] - 1
            predictions |= best_spans(start, end, *edges, null, self.max_answer_tokens, self.n_best)
        return Output(losses.sum(), len(losses), predictions)

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        table = self.prediction_table(predictions, examples)
        questions = len(table["row"])
        metrics = {name: sum(table[name]) / questions for name in ("exact_match", "f1")}
        silent = [
            answer == "" for answer, known in zip(table["prediction"], table["references"], strict=True) if not known
        ]
        if silent:
            best_f1, threshold = best_threshold(table)
            metrics |= {
                "no_answer_accuracy": sum(silent) / len(silent),
                "best_f1": best_f1,
                "best_null_threshold": threshold,
            }
        return metrics

    def prediction_table(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, Any]:
        """A row a question, with its answer from all its windows, and the best spans with their places."""
        rows = examples.rows
        references = [answers["text"] for answers in rows.table["answers"]]
        version = 1 if all(references) else 2  # of SQuAD: whether there are questions without answers
        spans, null_scores = spans_of_rows(predictions, examples, rows.table["context"][:], self.n_best)
        best = [found[0] if found else NOTHING for found in spans]
        margins = [null - span.score for span, null in zip(best, null_scores, strict=True)]
        chosen = [
            NOTHING if version == 2 and margin > self.null_threshold else span
            for span, margin in zip(best, margins, strict=True)
        ]
        scored = list(zip((span.text for span in chosen), references, strict=True))
        of_windows = {name: _by_row(examples, predictions[name]) for name in ("loss", "count")}
        return {
            "row": rows.numbers,
            "question": rows.table["question"][:],
            "references": references,
            "prediction": [span.text for span in chosen],
            "char_start": [span.start for span in chosen],
            "char_end": [span.end for span in chosen],
            "exact_match": [exact_match(text, known, version) for text, known in scored],
            "f1": [f1(text, known, version) for text, known in scored],
            "best_span": [span.text for span in best],
            "null_margin": margins,
            "n_best": [[dataclasses.asdict(span) for span in found] for found in spans],
            **of_windows,
        }

    def row_metric(self, table: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        scores = np.asarray(table["f1"], dtype=float)
        return scores, np.ones(len(scores))

    @property
    def asked(self) -> tuple[str, ...]:
        return ("question", "context")

    @property
    def predicts(self) -> tuple[str, ...]:
        return ("prediction", "char_start", "char_end", "null_margin")

    def predicted(self, columns: dict[str, list[Any]], asked: Asked, first_row: int) -> dict[str, list[Any]]:
        from llama_experiments.tasks.asking import by_passes, no_answers

        answers = no_answers(len(columns["question"]), asked.may_be_silent)
        return by_passes(self, columns | {"answers": answers}, asked, self.predicts)


def best_threshold(table: dict[str, Any]) -> tuple[float, float]:
    """The F1 that the best null threshold would have reached, and that threshold (as SQuAD 2.0's script finds it)."""
    import numpy as np

    answered = np.array(
        [f1(span, known, 2) for span, known in zip(table["best_span"], table["references"], strict=True)]
    )
    silent = np.array([not known for known in table["references"]], dtype=float)
    order = np.argsort(table["null_margin"], kind="stable")
    margins = np.asarray(table["null_margin"])[order]
    # With the threshold at the margin of the k-th question the first k are answered, the others are not.
    gained = np.concatenate([[0.0], np.cumsum((answered - silent)[order])])
    # Equal margins fall on the same side of any threshold.
    gained[1:-1][margins[1:] == margins[:-1]] = -np.inf
    best = int(gained.argmax())
    threshold = float(margins[best - 1]) if best else float(margins[0]) - 1.0
    return float(silent.sum() + gained[best]) / len(silent), threshold


def _by_row(examples: Examples, values: np.ndarray) -> np.ndarray:
    """Sums over each row's windows."""
    import numpy as np

    return np.bincount(examples.fixed["row"], weights=values, minlength=len(examples.rows))
