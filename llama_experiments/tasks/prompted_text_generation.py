"""Text with examples before it: how likely a language model that is not trained finds it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.tasks.language_modelling import first_words, windows
from llama_experiments.tasks.prompts import context_of, fewer
from llama_experiments.tasks.text_generation import TextGeneration

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples
    from llama_experiments.tasks.base import Prompting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptedTextGeneration(TextGeneration):
    """Each window as it is without examples, and as many of these before it as fit; they are only read.

    So exactly the same tokens are scored with any number of examples, and their losses compare. An example is a
    whole document with the tokens that begin and end it, or the first window of a longer one.
    """

    prompting: Prompting
    # Known once the model is:
    context: int = 0  # tokens of a window and the examples before it at most
    solved: tuple[tuple[int, ...], ...] = ()  # as tokens

    @property
    def window(self) -> int:
        return min(self.max_length, self.context)

    @property
    def shared(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(self._last(number)) for number in range(1, len(self.solved) + 1))

    def meet(self, tokenizer: PreTrainedTokenizerFast, positions: int) -> PromptedTextGeneration:
        super().meet(tokenizer, positions)
        task = dataclasses.replace(self, context=context_of(self.prompting, positions))
        rows = self.prompting.demonstrations
        if not rows:
            return task
        documents = [*task.documents({name: [row[name] for row in rows] for name in self.columns}, tokenizer)]
        taken = [document for document in documents if document is not None and document.first is not None]
        if len(taken) < len(rows):
            raise UserError(
                f"technique.shots: {len(rows) - len(taken)} of the {len(rows)} examples drawn make no document "
                "(messages that the chat template does not take, or too few tokens); another seed draws others"
            )
        return dataclasses.replace(
            task, solved=tuple(tuple(next(windows(document, task.window))[0]) for document in taken)
        )

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {"solved": self.solved, "context": self.context}

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        encoded = super().encode(columns, first_row, tokenizer)
        own = encoded["input_ids"]
        shown = [self._fitting(len(ids)) for ids in own]
        before = [self._last(number) for number in shown]
        encoded |= {"shown": shown, "before": [len(ids) for ids in before]}
        if self.solved:
            scored = encoded.get("scored", [[0] + [1] * (len(ids) - 1) for ids in own])
            encoded["input_ids"] = [[*first, *ids] for first, ids in zip(before, own, strict=True)]
            encoded["scored"] = [[0] * len(first) + mask for first, mask in zip(before, scored, strict=True)]
        return encoded

    def row_tokens(self, examples: Examples) -> np.ndarray:
        import numpy as np

        before = np.bincount(
            examples.fixed["row"], weights=examples.fixed["before"], minlength=len(examples.rows)
        ).astype(np.int64)
        return super().row_tokens(examples) - before

    def length_findings(self, examples: Examples) -> dict[str, np.ndarray]:
        return super().length_findings(examples) | fewer(examples, len(self.solved))

    def beginning(self, examples: Examples, index: int, tokenizer: PreTrainedTokenizerFast) -> list[int]:
        start, end = (int(at) for at in examples.offsets[index : index + 2])
        before = int(examples.fixed["before"][index])
        own = [int(token) for token in examples.ragged["input_ids"][0][start + before : end]]
        if self.format == "text":
            return first_words(own, tokenizer)
        return own[: examples.ragged["scored"][0][start + before : end].argmax()]

    def lead(self, tokens: int) -> list[int]:
        return self._last(self._fitting(tokens))

    def _last(self, number: int) -> list[int]:
        return [*itertools.chain(*self.solved[len(self.solved) - number :])]

    def _fitting(self, tokens: int) -> int:
        """How many examples fit before so many tokens, the last ones."""
        sizes = itertools.accumulate(len(ids) for ids in reversed(self.solved))
        return sum(tokens + size <= self.context for size in sizes)
