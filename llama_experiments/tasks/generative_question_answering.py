"""Generative question answering: the language model writes the answer after a passage and a question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.data.answers import located, read_answers, why_unreadable
from llama_experiments.errors import check_settings
from llama_experiments.tasks.base import Prompting, Sample, Written, recast
from llama_experiments.tasks.completion import completion_document
from llama_experiments.tasks.language_modelling import (
    SAMPLES,
    Document,
    LanguageModelling,
    ends,
    first_tokens,
    spread,
)
from llama_experiments.tasks.prompts import ANSWER_TEMPLATE, answer_rules, uncalibrated
from llama_experiments.tasks.squad_metrics import exact_match, f1

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples
    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.asking import Asked
    from llama_experiments.tasks.guesses import UnigramAnswers
    from llama_experiments.tasks.prompted_question_answering import PromptedQuestionAnswering

ONE_OR_ALL = "must be null or at least 1"
SEED = 0  # of the choice of rows to answer


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerativeQuestionAnswering(LanguageModelling):
    """The causal language model on the columns `question`, `context` and `answers`.

    The prompt is the template filled in; the first reference answer, after a space, is learned, with the end of the
    text. Exact match and F1 are of greedy answers to a seeded choice of rows, up to the end of their line.
    """

    name: ClassVar[str] = "generative question answering"
    headline: ClassVar[tuple[str, ...] | None] = ("exact_match", "f1")
    metric: ClassVar[str] = "f1"
    higher_is_better: ClassVar[bool] = True
    shared_column: ClassVar[str | None] = "context"

    max_length: int = 512  # tokens of prompt and answer; of longer prompts the beginning is cut
    template: str = ANSWER_TEMPLATE  # what the answer follows, after a space
    no_answer: str = "no answer"  # what is learned where a question has none
    generated_examples: int | None = 100  # evaluation rows whose answers are written and scored; null: all
    answer_tokens: int = 30  # of an answer at most

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            *answer_rules(self.template, self.no_answer),
            ("generated_examples", (self.generated_examples or 1) >= 1 and self.generated_examples != 0, ONE_OR_ALL),
            ("answer_tokens", self.answer_tokens >= 1, "must be at least 1"),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return ("question", "context", "answers")

    @property
    def content(self) -> tuple[str, ...]:
        return ("question", "context")

    @property
    def passages(self) -> tuple[str, ...]:
        return ("context",)

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {"template": self.template, "no_answer": self.no_answer}

    def reasons_to_leave_out(self, columns: dict[str, list[Any]]) -> list[str | None]:
        rows = zip(columns["question"], columns["context"], columns["answers"], strict=True)
        return [_why_unusable(*row) for row in rows]

    def prompted(self, prompting: Prompting) -> PromptedQuestionAnswering:
        from llama_experiments.tasks.prompted_question_answering import PromptedQuestionAnswering

        return recast(self, PromptedQuestionAnswering, prompting=uncalibrated(prompting))

    def guessed(self) -> UnigramAnswers:
        from llama_experiments.tasks.guesses import UnigramAnswers

        return recast(self, UnigramAnswers)

    def prepared(self, rows: Rows) -> Rows:
        return located(rows)

    def documents(
        self, columns: dict[str, list[Any]], tokenizer: PreTrainedTokenizerFast
    ) -> Iterator[Document | None]:
        for question, context, answers in zip(
            columns["question"], columns["context"], columns["answers"], strict=True
        ):
            prompt = self.template.format(question=question, context=context)
            answer = next(iter(answers["text"]), self.no_answer)
            yield completion_document(prompt, f" {answer}", tokenizer)

    def write(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: Examples) -> Written:
        import numpy as np

        from llama_experiments.tasks.generation import generate, positions_left

        # A row's first window ends its prompt; which rows is no matter of the run's seed, so runs can be compared.
        first = np.unique(examples.fixed["row"], return_index=True)[1]
        chosen = np.sort(first[np.random.default_rng(SEED).permutation(len(first))[: self.generated_examples]])
        prompts = [positions_left(model, first_tokens(examples, at, tokenizer), self.answer_tokens) for at in chosen]
        answers = np.full(len(examples), None, dtype=object)
        tokens = generate(model, prompts, self.answer_tokens, ends(model, tokenizer))
        for at, ids in zip(chosen, tokens, strict=True):
            line, *_ = tokenizer.decode(ids, skip_special_tokens=True).strip().split("\n")
            answers[at] = line.strip()
        asked = examples.rows.table["question"]
        shown = [chosen[place] for place in spread(len(chosen), SAMPLES)]
        samples = [Sample(asked[int(examples.fixed["row"][at])], f" {answers[at]}") for at in shown]
        return Written({"prediction": answers}, samples)

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        metrics = super().score(predictions, examples)
        if "prediction" not in predictions:
            return metrics
        table = self.prediction_table(predictions, examples)
        for name in ("exact_match", "f1"):
            scores = [score for score in table[name] if score is not None]
            metrics[name] = sum(scores) / len(scores)
        return metrics

    def prediction_table(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, Any]:
        """A row a window, with the answer where one was written."""
        table = super().prediction_table(predictions, examples)
        if "prediction" not in predictions:
            return table
        rows = [int(row) for row in predictions["row"]]
        known = [answers["text"] for answers in examples.rows.table["answers"][:]]
        version = 1 if all(known) else 2  # of SQuAD: whether there are questions without answers
        references = [known[row] for row in rows]
        said = [answer and ("" if answer == self.no_answer else answer) for answer in predictions["prediction"]]
        questions = examples.rows.table["question"][:]
        scored = list(zip(said, references, strict=True))
        return table | {
            "question": [questions[row] for row in rows],
            "references": references,
            "prediction": said,
            **{
                name: [None if answer is None else metric(answer, texts, version) for answer, texts in scored]
                for name, metric in (("exact_match", exact_match), ("f1", f1))
            },
        }

    def row_metric(self, table: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        scored = [score is not None for score in table["f1"]]
        return np.array([score or 0.0 for score in table["f1"]]), np.array(scored, dtype=float)

    @property
    def asked(self) -> tuple[str, ...]:
        return ("question", "context")

    def predicted(self, columns: dict[str, list[Any]], asked: Asked, first_row: int) -> dict[str, list[Any]]:
        from llama_experiments.tasks.asking import examples_of, no_answers

        rows = len(columns["question"])
        examples = examples_of(self, columns | {"answers": no_answers(rows, may_be_silent=True)}, asked.tokenizer)
        found: list[Any] = [None] * rows
        if examples is not None:
            everything = dataclasses.replace(self, generated_examples=None)
            with asked.arithmetic():
                written = everything.write(asked.model, asked.tokenizer, examples).predictions
            for row, answer in zip(examples.fixed["row"], written["prediction"], strict=True):
                if answer is not None:  # a row's first window
                    found[int(row)] = "" if answer == self.no_answer else answer
        return {"prediction": found}


def _why_unusable(question: Any, context: Any, value: Any) -> str | None:
    """Why a row cannot be learned from, or None. The answer need not stand in the context."""
    if (reason := why_unreadable(question, context, value)) is not None:
        return reason
    answers = read_answers(value)
    return None if not answers or not answers.texts or answers.texts[0].strip() else "an empty answer"
