"""Questions put to a language model that is not trained: it writes the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.tasks.beginnings import UNLIKE, common
from llama_experiments.tasks.completion import completion_document
from llama_experiments.tasks.generative_question_answering import GenerativeQuestionAnswering
from llama_experiments.tasks.language_modelling import Document, first_tokens
from llama_experiments.tasks.prompts import Pieces, context_of, fewer, largest

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples
    from llama_experiments.tasks.base import Prompting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptedQuestionAnswering(GenerativeQuestionAnswering):
    """Solved examples, then the row's passage and question in the template: one window a row.

    Of a passage that is too long the beginning is cut, as in training the beginning of the prompt; the template is
    not. There is always room for the longest answer that may be written.
    """

    prompting: Prompting
    # Known once the model is:
    context: int = 0  # tokens of a prompt with its answer at most
    solved: tuple[str, ...] = ()  # solved, as texts
    begun: tuple[tuple[int, ...], ...] = ()  # tokens with which prompts begin, whatever is asked

    def meet(self, tokenizer: PreTrainedTokenizerFast, positions: int) -> PromptedQuestionAnswering:
        task = dataclasses.replace(self, context=context_of(self.prompting, positions))
        if task._document("", self.template.format(context="", question=""), tokenizer, self.max_length) is None:
            raise UserError(
                f"task.template: without a passage and a question it is longer than a prompt may be: it has to leave "
                f"room for task.max_length={self.max_length}, and with the {self.answer_tokens} tokens of an answer "
                f"for the context of {task.context} (technique.context, and the model's positions)"
            )
        solved = []
        for row in self.prompting.demonstrations:
            fitted = task._own(row, tokenizer)
            if fitted is not None:
                passage, _, _ = fitted
                solved.append(f"{self._asked(row, passage)} {self._answer(row)}")
        task = dataclasses.replace(task, solved=tuple(solved))
        return dataclasses.replace(
            task, begun=tuple(task._begun(shown, tokenizer) for shown in range(len(solved) + 1))
        )

    @property
    def shared(self) -> tuple[tuple[int, ...], ...]:
        return self.begun

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {
            "solved": self.solved,
            "separator": self.prompting.separator,
            "context": self.context,
            "answer_tokens": self.answer_tokens,  # for which there is room
        }

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        names = ("input_ids", "scored", "row", "count", "bytes", "shown", "tokens", "cut")
        encoded: dict[str, list[Any]] = {name: [] for name in names}
        rows = zip(columns["question"], columns["context"], columns["answers"], strict=True)
        for number, (question, context, answers) in enumerate(rows, first_row):
            row = {"question": question, "context": context, "answers": answers}
            fitted = self._own(row, tokenizer)
            if fitted is None:
                continue
            passage, tokens, cut = fitted
            shown, document = self._with_examples(row, passage, tokenizer)
            scored = document.scored
            assert scored is not None, "of a completion it is known what is learned"
            values = (document.ids, scored, number, sum(scored), document.bytes, shown, tokens, cut)
            for name, value in zip(names, values, strict=True):
                encoded[name].append(value)
        return encoded

    def row_tokens(self, examples: Examples) -> np.ndarray:
        import numpy as np

        tokens = np.zeros(len(examples.rows), dtype=np.int64)
        tokens[examples.fixed["row"]] = examples.fixed["tokens"]
        return tokens

    def length_findings(self, examples: Examples) -> dict[str, np.ndarray]:
        import numpy as np

        cut, there = np.zeros((2, len(examples.rows)), dtype=bool)
        cut[examples.fixed["row"]] = examples.fixed["cut"]
        there[examples.fixed["row"]] = True
        return {
            "with a passage that was cut": cut,
            **fewer(examples, len(self.prompting.demonstrations)),
            "with a question and an answer that leave no room for the passage": ~there,
        }

    def as_read(self, examples: Examples, index: int, tokenizer: PreTrainedTokenizerFast) -> str:
        """The prompt, and the answer that is looked for."""
        prompt = tokenizer.decode(first_tokens(examples, index, tokenizer))
        return f"{prompt} [{self._answer(examples.rows.table[int(examples.fixed['row'][index])])}]"

    def _asked(self, row: Mapping[str, Any], passage: str) -> str:
        return self.template.format(context=passage, question=row["question"])

    def _answer(self, row: Mapping[str, Any]) -> str:
        return str(next(iter(row["answers"]["text"]), self.no_answer))

    def _begun(self, shown: int, tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
        """What prompts with so many examples begin with: two that ask unlike things tell it."""
        before = self.solved[len(self.solved) - shown :]
        prompts = [self.prompting.separator.join([*before, self._asked({"question": text}, text)]) for text in UNLIKE]
        return tuple(common(*(completion_document(prompt, " a", tokenizer).ids for prompt in prompts)))

    def _own(self, row: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> tuple[str, int, bool] | None:
        """As much of the row's passage as fits, the tokens that all of it needs, and whether it was cut."""
        passage, answer = Pieces.of(row["context"], tokenizer), self._answer(row)
        whole = completion_document(self._asked(row, passage.text), f" {answer}", tokenizer)

        def made(tokens: int) -> str | None:
            text = passage.last(tokens)
            fits = self._document(answer, self._asked(row, text), tokenizer, self.max_length) is not None
            return text if fits else None

        found = largest(len(passage), made)
        return None if found is None else (found[1], len(whole.ids), found[0] < len(passage))

    def _with_examples(
        self, row: Mapping[str, Any], passage: str, tokenizer: PreTrainedTokenizerFast
    ) -> tuple[int, Document]:
        """How many of the last examples fit before the row's prompt, and all of it as a document."""
        asked, answer = self._asked(row, passage), self._answer(row)

        def made(shown: int) -> Document | None:
            before = self.solved[len(self.solved) - shown :]
            prompt = self.prompting.separator.join([*before, asked])
            return self._document(answer, prompt, tokenizer, self.context)

        found = largest(len(self.solved), made)
        assert found is not None, "_own() has tried it without examples"
        return found

    def _document(self, answer: str, prompt: str, tokenizer: PreTrainedTokenizerFast, limit: int) -> Document | None:
        """Prompt and answer of at most `limit` tokens; None where they do not fit, or an answer that is written."""
        document = completion_document(prompt, f" {answer}", tokenizer)
        asked = document.first or 0
        fits = len(document.ids) <= min(limit, self.context) and asked + self.answer_tokens <= self.context
        return document if fits else None
