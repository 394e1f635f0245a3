"""What all tasks of the causal language model share: documents cut into windows, and the loss of their tokens."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, cast

from llama_experiments.errors import check_settings
from llama_experiments.tasks.base import Output, Sample, Task, Written
from llama_experiments.tasks.beginnings import can_share, prompt_states
from llama_experiments.tasks.trunk import hidden_states

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples

LOGITS_AT_ONCE = 1 << 22  # numbers of logits held at once: 16 MiB in fp32, or one chunk of the vocabulary's width
SAMPLES = 3  # prompts drawn from the validation rows
PROMPT_TOKENS = 16  # of a row's beginning, at most, where a row has no prompt of its own
WORD_STARTS = ("▁", "Ġ")  # how tokenizers write the space before a word


@dataclasses.dataclass(frozen=True)
class Document:
    """A row as tokens."""

    ids: list[int]
    scored: list[int] | None  # for each token 1 where it is learned, 0 where it is only read; None: all are learned
    bytes: int  # of the learned text in UTF-8

    @property
    def first(self) -> int | None:
        """The first learned token; the very first has nothing before it that could tell it."""
        if self.scored is None:
            return 1 if len(self.ids) > 1 else None
        return next((at for at, learned in enumerate(self.scored) if learned and at > 0), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModelling(Task):
    """`LlamaForCausalLM`: the next token of a document.

    A document longer than `max_length` is cut into windows that share one token, so that every learned token is
    predicted exactly once. Of a beginning that is only read, so much is left out as would make further windows.
    """

    item: ClassVar[str] = "token"
    head: ClassVar[tuple[str, ...]] = ("lm_head.",)
    head_may_be_fresh: ClassVar[bool] = False
    writes_on: ClassVar[bool] = True

    sample_prompts: list[str] | None = None  # continued after each evaluation; null: beginnings of its rows
    sample_tokens: int = 48  # of a continuation at most; 0: none are written
    sample_temperature: float = 0.7  # 0: always the likeliest token

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            ("sample_tokens", self.sample_tokens >= 0, "must be 0 or a positive number"),
            ("sample_temperature", 0 <= self.sample_temperature < math.inf, "must be 0 or a positive number"),
        )

    @property
    def window(self) -> int:
        """Tokens of a window at most."""
        return self.max_length

    @property
    def shared(self) -> tuple[tuple[int, ...], ...]:
        """Tokens with which many examples begin, only to be read: of a model that is asked they are run once."""
        return ()

    def documents(
        self, columns: dict[str, list[Any]], tokenizer: PreTrainedTokenizerFast
    ) -> Iterator[Document | None]:
        """For each row its document, or None where it gives none."""
        raise NotImplementedError

    def prompt(self, text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
        """A text as the tokens after which the model is to go on."""
        return list(tokenizer.backend_tokenizer.encode(text).ids)

    def beginning(self, examples: Examples, index: int, tokenizer: PreTrainedTokenizerFast) -> list[int]:
        """An example's tokens after which the model is to go on."""
        return first_tokens(examples, index, tokenizer)

    def lead(self, tokens: int) -> list[int]:
        """What the model reads before a prompt that needs, with what is written after it, so many tokens."""
        return []

    def model_class(self) -> type[PreTrainedModel]:
        from transformers import LlamaForCausalLM

        return cast("type[PreTrainedModel]", LlamaForCausalLM)

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        encoded: dict[str, list[Any]] = {name: [] for name in ("input_ids", "scored", "row", "count", "bytes")}
        masked = False
        for row, document in enumerate(self.documents(columns, tokenizer), first_row):
            if document is None:
                continue
            masked = document.scored is not None
            size = document.bytes
            for ids, scored in windows(document, self.window):
                window = (ids, scored, row, sum(scored), size)
                for name, value in zip(encoded, window, strict=True):
                    encoded[name].append(value)
                size = 0  # a document's bytes are counted once, in its first window
        if not masked:
            del encoded["scored"]  # it would be as large as the tokens
        return encoded

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        import torch

        input_ids, lengths = batch["input_ids"], batch["lengths"]
        positions = torch.arange(input_ids.shape[1] - 1, device=input_ids.device)
        predicts = positions < (lengths - 1)[:, None]  # [batch, length - 1] the positions that have a next token
        if "scored" in batch:
            predicts = predicts & batch["scored"][:, 1:].bool()  # and that token is learned
        targets = input_ids[:, 1:][predicts]  # [tokens]
        losses = self.token_losses(model, batch, predicts, targets)
        by_position = torch.zeros(predicts.shape, dtype=torch.float64, device=input_ids.device)
        by_position[predicts] = losses.detach().double()
        return Output(losses.sum(), len(targets), {"loss": by_position.sum(dim=1)})

    def token_losses(
        self, model: PreTrainedModel, batch: Batch, predicts: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each learned token, [tokens], of which the sum has a gradient.

        `predicts` [batch, length - 1] are the positions before them.
        """
        from llama_experiments.tasks.cross_entropy import token_losses

        if (begun := self.shared) and can_share(model):
            hidden = prompt_states(model, batch, predicts.int().argmax(dim=1).tolist(), begun)
        else:
            hidden = hidden_states(model.model, batch)  # [batch, length, hidden]
        chunk = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
        return token_losses(model.lm_head, hidden[:, :-1][predicts], targets, chunk)

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        """Perplexity of a token; bits for a byte of the learned text, which other tokenizers' models share.

        The end of a document costs bits and has no bytes.
        """
        nats, size = float(predictions["loss"].sum()), int(examples.fixed["bytes"].sum())
        mean = nats / float(predictions["count"].sum())
        return {"perplexity": math.exp(min(mean, 700.0)), "bits_per_byte": nats / math.log(2) / size}

    def write(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: Examples) -> Written:
        from llama_experiments.tasks.generation import continued, drawn, generate, positions_left

        if self.sample_prompts is None:
            prompts = [self.beginning(examples, index, tokenizer) for index in spread(len(examples), SAMPLES)]
        else:
            prompts = [self.prompt(text, tokenizer) for text in self.sample_prompts]
        prompts = [positions_left(model, ids, self.sample_tokens) for ids in prompts]
        prompts = [ids for ids in prompts if ids]
        if not prompts or self.sample_tokens == 0:
            return Written()
        choose = drawn(self.sample_temperature)
        whole = [[*self.lead(len(ids) + self.sample_tokens), *ids] for ids in prompts]
        texts = generate(model, whole, self.sample_tokens, ends(model, tokenizer), choose)
        return Written(samples=[Sample(*continued(tokenizer, *pair)) for pair in zip(prompts, texts, strict=True)])


def windows(document: Document, max_length: int) -> Iterator[tuple[list[int], list[int]]]:
    """Tokens and which of them are learned, of each window in which some are."""
    first = document.first
    if first is None:
        return
    ids, learned = document.ids, document.scored or [1] * len(document.ids)
    # What is only read at the beginning is cut as far as that saves windows.
    needed = math.ceil((len(ids) - first) / (max_length - 1))
    start = max(0, len(ids) - 1 - needed * (max_length - 1))
    for at in range(start, len(ids) - 1, max_length - 1):
        # A window's first token was the last one's last, or has nothing before it.
        scored = [0, *learned[at + 1 : at + max_length]]
        if any(scored):
            yield ids[at : at + max_length], scored


def first_tokens(examples: Examples, index: int, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """What the model is given of an example: its own prompt, or the first words of its text."""
    ids, offsets = examples.ragged["input_ids"]
    start, end = int(offsets[index]), int(offsets[index + 1])
    if "scored" in examples.ragged:
        return [int(token) for token in ids[start : start + examples.ragged["scored"][0][start:end].argmax()]]
    return first_words([int(token) for token in ids[start:end]], tokenizer)


def first_words(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The first words of a text, as tokens."""
    beginning = ids[: PROMPT_TOKENS + 1]
    pieces = tokenizer.convert_ids_to_tokens(beginning)
    ends_of_words = [at for at in range(2, len(pieces)) if pieces[at].startswith(WORD_STARTS)]
    return beginning[: max(ends_of_words, default=max(1, len(beginning) - 1))]


def spread(size: int, wanted: int) -> list[int]:
    """Up to `wanted` indices below `size`, from the first on and evenly apart."""
    return [number * size // min(wanted, size) for number in range(min(wanted, size))]


def ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """The tokens that end a text or a turn."""
    configs = [model.config, getattr(model, "generation_config", None), tokenizer]
    found: set[int] = set()
    for config in configs:
        ids = getattr(config, "eos_token_id", None)
        found |= set(ids) if isinstance(ids, list) else {ids} if ids is not None else set()
    return found
