"""The last layer at one position a row says what the whole layer says there, and learns the same."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from llama_experiments.data.examples import Batch
from llama_experiments.tasks.trunk import hidden_states, last_states

LENGTHS = (7, 1, 12, 5)


def make_trunk(layers: int, key_heads: int) -> LlamaModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 32}
    trunk = LlamaModel(
        LlamaConfig(**sizes, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=key_heads)
    )
    for name, parameter in trunk.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return trunk


def batch(*, packed: bool) -> Batch:
    ids = torch.randint(1, 40, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(1))
    found = {"input_ids": ids, "lengths": torch.tensor(LENGTHS)}
    return found | ({"position_ids": torch.arange(max(LENGTHS)).repeat(len(LENGTHS), 1)} if packed else {})


def gradients(trunk: LlamaModel, states: torch.Tensor) -> dict[str, torch.Tensor]:
    trunk.zero_grad()
    (states * torch.arange(1, 33)).square().sum().backward()
    return {name: value.grad.clone() for name, value in trunk.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("layers", "key_heads"), [(3, 4), (2, 2), (1, 1)])
def test_states_and_gradients_are_those_of_the_whole_layer(layers: int, key_heads: int, packed: bool) -> None:
    trunk, given = make_trunk(layers, key_heads), batch(packed=packed)
    last = given["lengths"] - 1
    whole = hidden_states(trunk, batch(packed=False)).take_along_dim(last[:, None, None], dim=1)[:, 0]
    expected = gradients(trunk, whole)
    found = last_states(trunk, given)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)
    ours = gradients(trunk, found)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-4 * gradient.abs().max().item(), msg=name)


def test_the_feed_forward_part_of_the_last_layer_is_given_a_token_a_row() -> None:
    trunk = make_trunk(2, 4)
    seen: list[int] = []
    for layer in trunk.layers:
        layer.mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0].numel() // 32))
    last_states(trunk, batch(packed=False))
    assert seen == [len(LENGTHS) * max(LENGTHS), len(LENGTHS)]


def test_under_autocast_it_is_as_near_as_the_whole_layer_is() -> None:
    trunk, given = make_trunk(2, 2).eval(), batch(packed=False)
    exact = last_states(trunk, given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = last_states(trunk, given)
        whole = hidden_states(trunk, given).take_along_dim((given["lengths"] - 1)[:, None, None], dim=1)[:, 0]
    ours, theirs = ((states.float() - exact).abs().max().item() for states in (found, whole))
    assert 0 < ours < 1.5 * theirs
