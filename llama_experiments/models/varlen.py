"""torch's own attention over rows of any lengths laid end to end: no padding, and none sees its neighbours.

The kernel runs on GPUs in 16 bits; whatever it has no part for (a mask of ours, dropout, a CPU) is SDPA's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch.utils.weak import WeakIdKeyDictionary

VARLEN = "varlen"  # as transformers knows it
Kernel = Callable[..., torch.Tensor]

_pieces = WeakIdKeyDictionary()  # positions -> where their rows start, and the longest: once for all layers of a pass


def register() -> str:
    """Have transformers know of it; returns its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(VARLEN, attention)
    AttentionMaskInterface.register(VARLEN, _mask)
    return VARLEN


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_ids: torch.Tensor | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """An attention layer as transformers calls it; heads first on the way in, positions first on the way out.

    Args:
        position_ids: [1 or batch, length]; a row of several texts starts from 0 with each.
    """
    batch, heads, length, size = query.shape
    kernel = _kernel(query.device)
    if kernel is None or attention_mask is not None or dropout or position_ids is None or key.shape[2] != length:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        if attention_mask is None and position_ids is not None and key.shape[2] == length:
            attention_mask = _own_text(position_ids)
        given = (attention_mask, dropout, scaling, is_causal)
        output, _ = sdpa_attention_forward(module, query, key, value, *given, **settings)
        return output, None
    if torch.is_autocast_enabled(query.device.type):
        narrow = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(narrow), key.to(narrow), value.to(narrow)
    starts, longest = _starts(position_ids, batch, length)
    laid = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))  # [batch x length, heads, size]
    causal = (-1, 0)  # all before a token, none after it
    found = kernel(*laid, starts, starts, longest, longest, scale=scaling, window_size=causal, enable_gqa=True)
    return found.view(batch, length, heads, size), None


def _kernel(device: torch.device) -> Kernel | None:
    """torch's, where it runs."""
    if device.type != "cuda":
        return None
    from torch.nn.attention.varlen import varlen_attn

    return cast(Kernel, varlen_attn)  # a tensor, as it is asked for no more


def _mask(*given: Any, attention_mask: torch.Tensor | None = None, **named: Any) -> torch.Tensor | None:
    """None where order and positions say it all."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None:
        return None
    mask: torch.Tensor | None = sdpa_mask(*given, attention_mask=attention_mask, **named)
    return mask


def _starts(position_ids: torch.Tensor, batch: int, length: int) -> tuple[torch.Tensor, int]:
    """Where each text starts with all rows end to end, and where the last ends [texts + 1]; the longest's length."""
    if position_ids not in _pieces:
        begins = position_ids.expand(batch, length) == 0
        begins[:, 0] = True
        first = begins.reshape(-1).nonzero().flatten()
        starts = torch.cat([first, first.new_tensor([batch * length])]).to(torch.int32)
        _pieces[position_ids] = (starts, int(starts.diff().max()))
    found: tuple[torch.Tensor, int] = _pieces[position_ids]
    return found


def _own_text(position_ids: torch.Tensor) -> torch.Tensor | None:
    """Which keys each query sees, [rows, 1, length, length]; None where each row is one text, causal by itself."""
    text = (position_ids == 0).cumsum(1)
    if int(text[:, -1].max()) <= 1:
        return None
    same = text[:, :, None] == text[:, None, :]
    return (same & torch.ones_like(same).tril())[:, None]
