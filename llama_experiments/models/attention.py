"""Causal attention on a CPU that skips what the mask hides, which torch's kernel there computes and throws away.

Queries go in chunks, each against the keys up to its end. What is used is a rule of device and shape, never of a
timing: a run repeats itself to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

CHUNKED = "chunked_causal"  # as transformers knows it
SMALL_HEAD = 16  # numbers; of such heads the softmax takes most of the time
FEW_COLUMNS = 16  # of a product: as many numbers as the processor multiplies at once
SHORT = 48  # tokens below which nothing is gained
KEPT_AT_MOST = 1 << 26  # bytes of a layer's probabilities that wait for the backward pass
BLOCK = 1 << 21  # bytes of scores at once: what is near in a cache


def register() -> str:
    """Have transformers know of it; returns its name. Where the rule says no it is transformers' SDPA."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(CHUNKED, attention)
    AttentionMaskInterface.register(CHUNKED, sdpa_mask)
    return CHUNKED


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """An attention layer as transformers calls it; heads first on the way in, positions first on the way out."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    given = (attention_mask, dropout, scaling, is_causal)
    if query.device.type != "cpu":
        output, _ = sdpa_attention_forward(module, query, key, value, *given, **settings)
        return output, None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    whole = attention_mask is None and not dropout and settings.get("position_bias") is None
    length, size = query.shape[2:]
    narrow = torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False):
        if narrow:  # the softmax is most of it, and torch's kernel is slower in bf16
            query, key = query.float(), key.float()
            value = value if value.dtype == torch.bfloat16 else value.float()
        chunk = chunk_size(query.shape[0] * query.shape[1], length, size)
        if causal and whole and chunk is not None and length == key.shape[2] and query.dtype == torch.float32:
            return causal_attention(query, key, value, size**-0.5 if scaling is None else scaling, chunk), None
        output, _ = sdpa_attention_forward(module, query, key, value.to(query.dtype), *given, **settings)
        return output, None


def chunk_size(rows: int, length: int, size: int) -> int | None:
    """Queries of a chunk; None where torch's own kernel is as fast, or takes much less memory.

    Args:
        rows: of a batch, times heads.
        length: tokens.
        size: of a head.
    """
    if length < SHORT or rows * length * length * 2 > KEPT_AT_MOST:
        return None
    return 32 if size <= SMALL_HEAD else 64


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, chunk: int
) -> torch.Tensor:
    """[batch, length, heads, size] of [batch, heads, length, size]; keys and values may have fewer heads.

    Where values are bf16 so is what is found, and four of the six products of both passes are made of bf16; scores,
    probabilities and their gradients are fp32.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value)):
        output: torch.Tensor = _Causal.apply(query, key, value, scale, chunk)
        return output
    return _forward(*_by_key_head(query, key, value, scale), chunk, None)


class _Causal(torch.autograd.Function):
    """Keeps each block's probabilities for the backward pass: half of what the whole square would be."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, chunk: int
    ) -> torch.Tensor:
        queries, keys, values = _by_key_head(query, key, value, scale)
        kept: list[torch.Tensor] = []
        output = _forward(queries, keys, values, chunk, kept)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.scale, ctx.chunk = scale, chunk
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        batch, groups, shared, length, size = queries.shape
        queries, keys, values = queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1)
        narrow, whole_values = values.dtype, values.float()
        queries, keys = queries.to(narrow), keys.to(narrow)
        arrived = gradient.view(batch, length, groups, shared, size).permute(0, 2, 3, 1, 4)
        arrived = arrived.reshape(queries.shape)
        of_queries = _empty(queries.shape)
        of_keys, of_values = _empty(keys.shape).zero_(), _empty(values.shape).zero_()
        for (rows, places, end), chosen in zip(_blocks(queries, ctx.chunk), kept, strict=True):
            asked, given = queries[rows, :, places].flatten(1, 2), arrived[rows, :, places].flatten(1, 2)
            # Not baddbmm_, which makes a call of each matrix where the target is a slice.
            of_values[rows, :end].add_(_times(chosen.to(narrow).transpose(1, 2), given))
            of_chosen = torch.bmm(given.float(), whole_values[rows, :end].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_chosen, chosen, -1, torch.float32).to(narrow)
            block = of_queries[rows, :, places]
            block.copy_(_times(of_scores, keys[rows, :end]).view(block.shape))
            of_keys[rows, :end].add_(_times(of_scores.transpose(1, 2), asked))
        heads = (batch, groups * shared, length, size)
        both = (batch, groups, length, size)
        return (
            of_queries.mul_(ctx.scale).reshape(heads),
            of_keys.view(both),
            of_values.to(narrow).view(both),
            None,
            None,
        )


def _by_key_head(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scaled queries [batch, key heads, queries of each, length, size]; keys and values in one piece."""
    batch, heads, length, size = query.shape
    groups = key.shape[1]
    queries = (query * scale).reshape(batch, groups, heads // groups, length, size)
    return queries, _laid(key), _laid(value)


def _empty(shape: torch.Size, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """[.., length, size]; in memory column after column where these are few."""
    if shape[-1] < FEW_COLUMNS:
        return torch.empty((*shape[:-2], shape[-1], shape[-2]), dtype=dtype).transpose(-2, -1)
    return torch.empty(shape, dtype=dtype)


def _laid(tensor: torch.Tensor) -> torch.Tensor:
    """The same in such memory."""
    if tensor.shape[-1] < FEW_COLUMNS:
        return tensor.transpose(-2, -1).contiguous().transpose(-2, -1)
    return tensor.contiguous()


def _times(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """[rows, m, size] of [rows, m, n] and [rows, n, size]; where that has few columns, made as few rows.

    Of eight columns a CPU's library makes a product four times as fast so.
    """
    if right.shape[2] < FEW_COLUMNS:
        return torch.bmm(right.transpose(1, 2), left.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(left, right)


def _blocks(queries: torch.Tensor, chunk: int) -> Iterator[tuple[slice, slice, int]]:
    """Rows and queries of each block, and where the keys that these see end."""
    rows, shared, length, _ = queries.shape
    for start in range(0, length, chunk):
        end = min(start + chunk, length)
        step = max(1, BLOCK // (shared * (end - start) * end * 4))
        for row in range(0, rows, step):
            yield slice(row, min(row + step, rows)), slice(start, end), end


def _forward(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, chunk: int, kept: list[torch.Tensor] | None
) -> torch.Tensor:
    batch, groups, shared, length, size = queries.shape
    queries, keys, values = queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1)
    found = _empty(queries.shape, values.dtype)
    hidden = torch.full((chunk, chunk), -torch.inf, device=queries.device).triu_(1)
    for rows, places, end in _blocks(queries, chunk):
        asked = queries[rows, :, places]
        scores = torch.bmm(asked.flatten(1, 2), keys[rows, :end].transpose(1, 2)).view(*asked.shape[:3], end)
        scores[..., places].add_(hidden[: asked.shape[2], : asked.shape[2]])
        chosen = torch.softmax(scores, -1, out=scores).flatten(1, 2)
        found[rows, :, places] = _times(chosen.to(values.dtype), values[rows, :end]).view(asked.shape)
        if kept is not None:
            kept.append(chosen)
    by_place = found.view(batch, groups, shared, length, size).permute(0, 3, 1, 2, 4)
    return by_place.reshape(batch, length, groups * shared, size)
