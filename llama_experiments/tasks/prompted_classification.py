"""Classification by a language model that is only asked: how likely is a class's word after a template?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from llama_experiments.errors import UserError
from llama_experiments.tasks.beginnings import UNLIKE, common
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.completion import without_end
from llama_experiments.tasks.label_scores import Choice, choice, log_probabilities
from llama_experiments.tasks.prompts import Pieces, context_of, fewer, largest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples
    from llama_experiments.tasks.base import Prompting

CONTENT_FREE = ("N/A", "", "[MASK]")  # what calibration asks about, as in Zhao et al. 2021


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptedClassification(SequenceClassification):
    """`LlamaForCausalLM` asked for the class: examples with their words, then the row's text in the template.

    What speaks for a class is the sum of the log-probabilities of its word's tokens, and the loss the cross-entropy
    over the classes, which compares with a classification head's. Calibrated, it is less what speaks for the class
    where there is no text to speak of (Zhao et al. 2021): the mean of its probability over three such texts, after
    the same examples.
    """

    head: ClassVar[tuple[str, ...]] = ("lm_head.",)
    head_may_be_fresh: ClassVar[bool] = False
    pools: ClassVar[bool] = False

    prompting: Prompting
    # Known once the model is:
    context: int = 0  # tokens of a prompt with its longest word at most
    solved: tuple[str, ...] = ()  # solved, as texts
    shared: tuple[tuple[int, ...], ...] = ()  # tokens with which prompts begin, whatever their text is
    no_text: tuple[tuple[Choice, ...], ...] = ()  # what calibration asks, by the number of examples before it

    @property
    def words(self) -> list[str]:
        """What stands for each class."""
        return [(self.label_words or {}).get(name, name) for name in self.names]

    def model_class(self) -> type[PreTrainedModel]:
        from transformers import LlamaForCausalLM

        return cast("type[PreTrainedModel]", LlamaForCausalLM)

    def model_settings(self) -> dict[str, Any]:
        return {}

    def meet(self, tokenizer: PreTrainedTokenizerFast, positions: int) -> PromptedClassification:
        words = self.words
        solved = []
        for row in self.prompting.demonstrations:
            pieces = Pieces.of(row["text"], tokenizer)
            solved.append(f"{self._asked(pieces.first(self._room(pieces)))} {words[row['label']]}")
        task = dataclasses.replace(self, context=context_of(self.prompting, positions), solved=tuple(solved))
        if task._choice("", 0, tokenizer) is None:
            raise UserError(
                f"task.template: without a text it is longer, with the longest label word, than the {task.context} "
                "tokens that a prompt may have (technique.context, and the model's positions)"
            )
        return dataclasses.replace(
            task, no_text=tuple(task._no_text(tokenizer)), shared=tuple(task._shared(tokenizer))
        )

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {
            "template": self.template,
            "words": self.words,
            "solved": self.solved,
            "separator": self.prompting.separator,
            "context": self.context,
            "calibrate": self.prompting.calibrate,  # which needs the same examples before no text
        }

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        encoded: dict[str, list[Any]] = {
            name: [] for name in ("input_ids", "branch", "start", "shown", "tokens", "kept")
        }
        for text in columns["text"]:
            pieces = Pieces.of(text, tokenizer)
            asked, shown, kept = self._fitted(pieces, tokenizer)
            values = (
                asked.ids,
                asked.branch,
                asked.start,
                shown,
                len(pieces) + pieces.special,
                kept + pieces.special,
            )
            for name, value in zip(encoded, values, strict=True):
                encoded[name].append(value)
        rows = len(columns["text"])
        return encoded | {
            "label": columns["label"],
            "row": list(range(first_row, first_row + rows)),
            "count": [1] * rows,
        }

    def length_findings(self, examples: Examples) -> dict[str, np.ndarray]:
        cut = {"cut off": examples.fixed["kept"] < examples.fixed["tokens"]}
        return cut | fewer(examples, len(self.solved))

    def logits(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        import torch

        rows = len(batch["lengths"])
        packed, number = "position_ids" in batch, len(self.names)
        columns = zip(*(batch[name].tolist() for name in ("input_ids", "branch", "lengths", "start")), strict=True)
        choices = [Choice(ids[:length], branch[:length], start) for ids, branch, length, start in columns]
        logits = log_probabilities(model, choices, number, rows, packed, self.shared)  # [batch, classes]
        if not self.prompting.calibrate:
            return logits
        bias = torch.zeros_like(logits)
        for shown in sorted(set(batch["shown"].tolist())):
            # [texts, classes]
            nothing = log_probabilities(model, self.no_text[shown], number, rows, packed, self.shared)
            bias[batch["shown"] == shown] = nothing.softmax(dim=-1).mean(dim=0).log()
        return logits - bias

    def as_read(self, examples: Examples, index: int, tokenizer: PreTrainedTokenizerFast) -> str:
        """The prompt, and the words between which the model chooses."""
        ids, offsets = examples.ragged["input_ids"]
        start = offsets[index]
        prompt = tokenizer.decode(ids[start : start + examples.fixed["start"][index]].tolist())
        return f"{prompt} [{' | '.join(self.words)}]"

    def _asked(self, text: str) -> str:
        return self.template.format(text=text)

    def _room(self, pieces: Pieces) -> int:
        """Tokens of a text at most: it is the text that a classifier with a head would read."""
        return max(0, min(len(pieces), self.max_length - pieces.special))

    def _fitted(self, pieces: Pieces, tokenizer: PreTrainedTokenizerFast) -> tuple[Choice, int, int]:
        """What is asked about a text, how many examples stand before it, and how many of its tokens are left."""
        room = self._room(pieces)
        most = len(self.no_text) - 1 if self.prompting.calibrate else len(self.solved)
        if (found := largest(most, lambda shown: self._choice(pieces.first(room), shown, tokenizer))) is not None:
            return found[1], found[0], room
        cut = largest(room - 1, lambda tokens: self._choice(pieces.first(tokens), 0, tokenizer))
        assert cut is not None, "meet() has tried it without a text"
        return cut[1], 0, cut[0]

    def _choice(self, text: str, shown: int, tokenizer: PreTrainedTokenizerFast) -> Choice | None:
        """What is asked about a text after the last `shown` examples; None where it is longer than the context."""
        before = self.solved[len(self.solved) - shown :]
        prompt = self.prompting.separator.join([*before, self._asked(text)])
        words = self.words
        encodings = tokenizer.backend_tokenizer.encode_batch([f"{prompt} {word}" for word in words])
        sequences = [without_end(encoding.ids, tokenizer) for encoding in encodings]
        if max(map(len, sequences)) > self.context:
            return None
        starts = [
            next(at for at, (_, end) in enumerate(encoding.offsets) if end > len(prompt)) for encoding in encodings
        ]
        return choice(sequences, min(starts), words)

    def _shared(self, tokenizer: PreTrainedTokenizerFast) -> list[tuple[int, ...]]:
        """What the prompts with each number of examples begin with: two texts with nothing in common tell it."""
        found = []
        for shown in range(len(self.solved) + 1):
            two = [self._choice(text, shown, tokenizer) for text in UNLIKE]
            found += [tuple(common(*(one.beginning for one in two if one)))] if all(two) else []
        return found

    def _no_text(self, tokenizer: PreTrainedTokenizerFast) -> list[tuple[Choice, ...]]:
        """What calibration asks after none of the examples, after the last, after the last two and so on that fit."""
        found: list[tuple[Choice, ...]] = []
        while self.prompting.calibrate and len(found) <= len(self.solved):
            asked = [self._choice(text, len(found), tokenizer) for text in CONTENT_FREE]
            fitting = [one for one in asked if one is not None]
            if len(fitting) < len(asked):
                break
            found.append(tuple(fitting))
        return found
