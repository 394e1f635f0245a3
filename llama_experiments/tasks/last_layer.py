"""The last layer where one position of each row is read: what it says of all others would be thrown away.

Keys and values are made of every token, all else of one: that is exact, and spares most of a layer, forward and
backward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def layer_at(layer: Any, hidden: torch.Tensor, last: torch.Tensor, rotary: Any) -> torch.Tensor:
    """What a decoder layer says at one position of each row, [batch, hidden], of [batch, length, hidden].

    Args:
        last: [batch] the position, whose token sees itself and those before it.
        rotary: gives the cosines and sines of positions, as the trunk's module does.
    """
    import torch
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    attention = layer.self_attn
    batch, length, _ = hidden.shape
    rows = torch.arange(batch, device=hidden.device)
    places = torch.arange(length, device=hidden.device)[None]
    normed = layer.input_layernorm(hidden)
    heads = (batch, -1, attention.head_dim)
    query = attention.q_proj(normed[rows, last]).view(*heads)[:, :, None]  # [batch, heads, 1, size]
    key = attention.k_proj(normed).view(batch, length, -1, attention.head_dim).transpose(1, 2)
    value = attention.v_proj(normed).view(batch, length, -1, attention.head_dim).transpose(1, 2)
    key, _ = apply_rotary_pos_emb(key, key, *rotary(hidden, position_ids=places))
    query, _ = apply_rotary_pos_emb(query, query, *rotary(hidden, position_ids=last[:, None]))
    # Heads that share a key stand side by side, as queries of one place.
    query = query.view(batch, key.shape[1], -1, attention.head_dim)
    sees = (places <= last[:, None])[:, None, None]  # [batch, 1, 1, length]
    dropout = attention.attention_dropout if layer.training else 0.0
    with torch.autocast(hidden.device.type, enabled=False):
        attended = torch.nn.functional.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), sees, dropout, scale=attention.scaling
        )
    residual = hidden[rows, last] + attention.o_proj(attended.reshape(batch, -1).to(normed.dtype))
    found: torch.Tensor = residual + layer.mlp(layer.post_attention_layernorm(residual))
    return found
