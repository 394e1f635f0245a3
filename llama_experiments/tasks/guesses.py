"""Answers without a look at the text: what a model has to beat.

Classes by their share of the training rows, spans each as likely as any other, tokens by how often they occur in
training. They are tasks like the ones they stand for, and score the same items.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.errors import UserError
from llama_experiments.tasks.base import Written
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.generative_question_answering import GenerativeQuestionAnswering
from llama_experiments.tasks.language_modelling import LanguageModelling
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples
    from llama_experiments.tasks.asking import Asked


@dataclasses.dataclass(frozen=True, kw_only=True)
class MajorityClass(SequenceClassification):
    """The larger class for every text, with the classes' shares as probabilities; each counts as seen once more."""

    counts: list[int] = dataclasses.field(default_factory=list)  # of the classes in training

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {"task": SequenceClassification.__name__}

    def seen(self, train: Examples) -> MajorityClass:
        import numpy as np

        counts = np.bincount(train.fixed["label"], minlength=len(self.names))
        return dataclasses.replace(self, counts=counts.tolist())

    def logits(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        import torch

        total = sum(self.counts) + len(self.counts)
        shares = [math.log((count + 1) / total) for count in self.counts]
        return torch.tensor(shares, device=batch["label"].device).expand(len(batch["label"]), -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnySpan(QuestionAnswering):
    """Every position as likely as any other."""

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {"task": QuestionAnswering.__name__}

    def logits(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        import torch

        return torch.zeros(*batch["input_ids"].shape, 2, device=batch["input_ids"].device)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Unigram(LanguageModelling):
    """Tokens by their share of what is learned in training; each of the vocabulary counts as seen once more."""

    metric: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    headline: ClassVar[tuple[str, ...] | None] = None

    counts: np.ndarray | None = None  # [tokens up to the largest that occurs]

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {"task": type(self).__mro__[2].__name__}

    def seen(self, train: Examples) -> _Unigram:
        import numpy as np

        ids, offsets = train.ragged["input_ids"]
        learned = np.ones(len(ids), dtype=bool)
        learned[offsets[:-1]] = False  # a window's first token has nothing before it
        if "scored" in train.ragged:
            learned = train.ragged["scored"][0].astype(bool)
        return dataclasses.replace(self, counts=np.bincount(ids[learned]))

    def token_losses(
        self, model: PreTrainedModel, batch: Batch, predicts: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        import torch

        assert self.counts is not None, "seen() comes first"
        counts = torch.ones(model.config.vocab_size, dtype=torch.float64, device=targets.device)
        counts[: len(self.counts)] += torch.from_numpy(self.counts).to(targets.device)
        return (counts.sum().log() - counts[targets].log()).float()

    def write(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: Examples) -> Written:
        return Written()

    def predicted(self, columns: dict[str, list[Any]], asked: Asked, first_row: int) -> dict[str, list[Any]]:
        raise UserError(f"predict: a baseline of {self.name} only tells how likely a text is, and writes none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnigramText(_Unigram, TextGeneration):
    """Documents, completions and chats, a token at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnigramAnswers(_Unigram, GenerativeQuestionAnswering):
    """Answers, a token at a time; none is written."""

    metric: ClassVar[str] = "loss"

    def row_metric(self, table: Any) -> tuple[np.ndarray, np.ndarray]:
        return LanguageModelling.row_metric(self, table)
