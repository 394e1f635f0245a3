"""The trunk's pass over a batch, in either layout: rows padded side by side, or laid end to end in one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch

    from llama_experiments.data.examples import Batch


def hidden_states(trunk: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The trunk's last hidden states, [batch, length, hidden]; at padding they mean nothing.

    No attention mask is given in either layout. Padded: attention is causal and the padding comes after, so no real
    position sees it. Packed: `position_ids` that begin again tell transformers where a document begins, and none
    sees its neighbours; with a mask beside them they would be ignored.
    """
    import torch

    ids = batch["input_ids"]  # [batch, length]
    if "position_ids" not in batch:
        return cast("torch.Tensor", trunk(input_ids=ids, use_cache=False).last_hidden_state)
    real = torch.arange(ids.shape[1], device=ids.device) < batch["lengths"][:, None]  # [batch, length]
    row = trunk(input_ids=ids[real][None], position_ids=batch["position_ids"][real][None], use_cache=False)
    tokens: torch.Tensor = row.last_hidden_state[0]  # [tokens, hidden]
    return tokens.new_zeros(*ids.shape, tokens.shape[-1]).masked_scatter(real[:, :, None], tokens)
