"""Weights by their hashes."""

from __future__ import annotations

import torch

from llama_experiments.models.hashes import tensor_hashes, weights_hash


def of(model: torch.nn.Module) -> str:
    return weights_hash(tensor_hashes(model))


def test_starting_weights_are_told_by_name_and_content() -> None:
    def layer() -> torch.nn.Linear:
        torch.manual_seed(0)
        return torch.nn.Linear(4, 3, bias=False)

    first = of(layer())
    assert of(layer()) == first
    changed = layer()
    with torch.no_grad():
        changed.weight[2, 3] = torch.nextafter(changed.weight[2, 3], torch.tensor(9.0))  # by the last bit
    assert of(changed) != first
    assert of(torch.nn.Sequential(layer())) != first  # the same numbers under another name
    reshaped = layer()
    reshaped.weight = torch.nn.Parameter(reshaped.weight.detach().reshape(3, 4).T.contiguous())
    assert of(reshaped) != first
    assert of(layer().to(torch.bfloat16)) != first


def test_the_hash_is_of_numbers_not_of_their_place_in_memory() -> None:
    layer = torch.nn.Linear(4, 3, bias=False)
    first = of(layer)
    layer.weight = torch.nn.Parameter(layer.weight.detach().T.contiguous().T)
    assert not layer.weight.is_contiguous()
    assert of(layer) == first
