"""The trunk's pass over a batch, in either layout: rows padded side by side, or laid end to end in one row.

What nothing that may move is below can be run once for all epochs: `frozen_depth` tells how far up that goes, `below`
runs it, and a batch that brings its result passes what is left.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from llama_experiments.tasks.last_layer import layer_at

if TYPE_CHECKING:
    import torch

    from llama_experiments.data.examples import Batch

STATES, POOLED = "states", "pooled"  # columns of a batch: what the frozen part says of each token, of each example


def hidden_states(trunk: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The trunk's last hidden states, [batch, length, hidden]; at padding they mean nothing.

    No attention mask is given in either layout. Padded: attention is causal and the padding comes after, so no real
    position sees it. Packed: `position_ids` that begin again tell transformers where a document begins, and none
    sees its neighbours; with a mask beside them they would be ignored.
    """
    import torch

    name, values = "input_ids", batch.get("input_ids")  # [batch, length]
    if STATES in batch:
        depth = frozen_depth(trunk)
        if depth > number_of_layers(trunk):
            return batch[STATES]
        trunk = _part(trunk, slice(depth, None), normed=True)
        name, values = "inputs_embeds", batch[STATES]  # [batch, length, hidden]
    assert values is not None
    if "position_ids" not in batch:
        return cast("torch.Tensor", trunk(**{name: values}, use_cache=False).last_hidden_state)
    rows, length = values.shape[:2]
    real = torch.arange(length, device=values.device) < batch["lengths"][:, None]  # [batch, length]
    row = trunk(**{name: values[real][None]}, position_ids=batch["position_ids"][real][None], use_cache=False)
    tokens: torch.Tensor = row.last_hidden_state[0]  # [tokens, hidden]
    return tokens.new_zeros(rows, length, tokens.shape[-1]).masked_scatter(real[:, :, None], tokens)


def last_states(trunk: Any, batch: Batch) -> torch.Tensor:
    """The hidden state of each row's last token, [batch, hidden]."""
    from llama_experiments.models.shards import is_sharded

    if POOLED in batch:
        return batch[POOLED]
    last, layers = batch["lengths"] - 1, number_of_layers(trunk)
    made = STATES in batch and frozen_depth(trunk) >= layers
    if made or is_sharded(trunk.layers[-1]):  # what FSDP gathers it gathers for a whole layer's pass
        return hidden_states(trunk, batch).take_along_dim(last[:, None, None], dim=1)[:, 0]
    states = hidden_states(_part(trunk, slice(layers - 1), normed=False), batch)
    return cast("torch.Tensor", trunk.norm(layer_at(trunk.layers[-1], states, last, trunk.rotary_emb)))


def number_of_layers(trunk: Any) -> int:
    """Its decoder layers."""
    return len(trunk.layers)


def frozen_depth(trunk: Any) -> int:
    """How many decoder layers no weight that may move is in or below; one more where the whole trunk is frozen."""
    for depth, part in enumerate([trunk.embed_tokens, *trunk.layers, trunk.norm]):
        if any(parameter.requires_grad for parameter in part.parameters()):
            return max(0, depth - 1)
    return number_of_layers(trunk) + 1


def below(trunk: Any, depth: int) -> torch.nn.Module:
    """The trunk up to a frozen depth, as a trunk of its own over the same weights."""
    return _part(trunk, slice(depth), normed=depth > number_of_layers(trunk))


def _part(trunk: Any, layers: slice, *, normed: bool) -> torch.nn.Module:
    """Some of the layers, with or without the final norm. The trunk itself stays as it is."""
    import torch

    part = copy.copy(trunk)
    norm = trunk.norm if normed else torch.nn.Identity()
    part.__dict__["_modules"] = {**trunk._modules, "layers": trunk.layers[layers], "norm": norm}
    return cast("torch.nn.Module", part)
