"""Text generation: the next token of a document, by the causal language model's own head."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar, cast

from llama_experiments.tasks.base import Output, Task, tokenize

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples

LOGITS_AT_ONCE = 1 << 22  # numbers of logits held at once: 16 MiB in fp32, or one chunk of the vocabulary's width


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextGeneration(Task):
    """`LlamaForCausalLM` on the column `text`, one document a row.

    A document longer than `max_length` is cut into windows that share one token, so that every token but the first
    is predicted exactly once.
    """

    name: ClassVar[str] = "text generation"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    item: ClassVar[str] = "token"
    head: ClassVar[tuple[str, ...]] = ("lm_head.",)
    head_may_be_fresh: ClassVar[bool] = False

    def model_class(self) -> type[PreTrainedModel]:
        from transformers import LlamaForCausalLM

        return cast("type[PreTrainedModel]", LlamaForCausalLM)

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        end = tokenizer.eos_token_id
        windows, rows = [], []
        for row, tokens in enumerate(tokenize(columns["text"], tokenizer, None), first_row):
            document = tokens if end is None or tokens[-1:] == [end] else [*tokens, end]
            for start in range(0, len(document) - 1, self.max_length - 1):
                windows.append(document[start : start + self.max_length])
                rows.append(row)
        return {"input_ids": windows, "row": rows, "count": [len(window) - 1 for window in windows]}

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        import torch

        input_ids, lengths = batch["input_ids"], batch["lengths"]
        hidden = model.model(input_ids=input_ids, use_cache=False).last_hidden_state  # [batch, length, hidden]
        positions = torch.arange(input_ids.shape[1] - 1, device=hidden.device)
        predicts = positions < (lengths - 1)[:, None]  # [batch, length - 1] the positions that have a next token
        targets = input_ids[:, 1:][predicts]  # [tokens]
        losses = _token_losses(model, hidden[:, :-1][predicts], targets)
        by_position = torch.zeros(predicts.shape, dtype=torch.float64, device=hidden.device)
        by_position[predicts] = losses.detach().double()
        return Output(losses.sum(), len(targets), {"loss": by_position.sum(dim=1)})

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        mean = float(predictions["loss"].sum() / predictions["count"].sum())
        return {"perplexity": math.exp(min(mean, 700.0))}


def _token_losses(model: PreTrainedModel, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token, [tokens], in chunks that never hold all logits at once.

    The logits of a chunk are computed again in the backward pass, which costs a third of the head's time and saves
    tokens x vocabulary numbers of memory.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.checkpoint import checkpoint

    def losses(chunk: torch.Tensor, chunk_targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model.lm_head(chunk).float(), chunk_targets, reduction="none")

    tokens = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    if len(targets) <= tokens:
        return losses(hidden, targets)
    return torch.cat(
        [
            checkpoint(losses, chunk, chunk_targets, use_reentrant=False)
            for chunk, chunk_targets in zip(hidden.split(tokens), targets.split(tokens), strict=True)
        ]
    )
