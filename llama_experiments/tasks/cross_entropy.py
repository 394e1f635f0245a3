"""The loss of tokens by a head over the vocabulary, without ever holding all logits.

A chunk's gradient is made beside its loss, from the logits that are there, so that none is computed twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint


def token_losses(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    """The cross-entropy of each token, [tokens]. Only their sum, perhaps times a number, may be learned from.

    Args:
        head: gives logits.
        hidden: [tokens, hidden size].
        targets: [tokens].
        chunk: tokens whose logits are held at once; changes no number.
    """
    parts = list(zip(hidden.split(chunk), targets.split(chunk), strict=True))
    if not torch.is_grad_enabled():
        return torch.cat([_of_chunk(head, *part) for part in parts])
    # What is more than a matrix, or only a share of one that its own pass puts together (an adapter beside it, FSDP);
    # or fp16, whose small gradients need the loss scaled first.
    plain = type(head) is torch.nn.Linear and head.bias is None and not hasattr(head.weight, "placements")
    if not plain or _narrow(hidden) == torch.float16:
        if len(parts) == 1:
            return _of_chunk(head, hidden, targets)
        return torch.cat([checkpoint(_of_chunk, head, *part, use_reentrant=False) for part in parts])
    losses: torch.Tensor = _Losses.apply(hidden, head.weight, targets, chunk)
    return losses


def _of_chunk(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="none")


def _narrow(hidden: torch.Tensor) -> torch.dtype:
    """The type in which matrices are multiplied."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


class _Losses(torch.autograd.Function):
    """Keeps the gradients of the losses' sum for the backward pass, and nothing of the logits' size."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        narrow = _narrow(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            states, matrix = hidden.to(narrow), weight.to(narrow)
            losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
            of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
            of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
            for start in range(0, len(targets), chunk):
                here = slice(start, start + chunk)
                of_logits = torch.log_softmax(linear(states[here], matrix).float(), dim=-1)  # [chunk, vocabulary]
                wanted = targets[here, None]
                losses[here] = -of_logits.gather(1, wanted)[:, 0]
                of_logits = of_logits.exp_().scatter_add_(1, wanted, -torch.ones_like(wanted, dtype=torch.float32))
                given = of_logits.to(narrow)
                if of_hidden is not None:
                    of_hidden[here] = given @ matrix
                if of_weight is not None:
                    of_weight += given.T @ states[here]
        ctx.save_for_backward(of_hidden, of_weight)
        return losses

    @staticmethod
    def backward(ctx: Any, factors: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if factors.stride() != (0,) and len(factors) > 1:
            raise NotImplementedError("tokens of one pass with weights of their own")
        factor = factors[:1].sum()  # there may be no token at all
        of_hidden, of_weight = (None if one is None else one * factor for one in ctx.saved_tensors)
        return of_hidden, of_weight, None, None
