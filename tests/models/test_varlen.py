"""Rows laid end to end, by a kernel that computes each text by itself and by a mask: both say what SDPA says."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM

from llama_experiments.models import varlen
from llama_experiments.tasks.trunk import hidden_states

LENGTHS = (5, 1, 9, 9)


class ByText:
    """What torch's kernel computes, a text at a time, with its arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], int]] = []

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        starts: torch.Tensor,
        key_starts: torch.Tensor,
        longest: int,
        longest_key: int,
        *,
        scale: float,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> torch.Tensor:
        assert starts is key_starts
        assert starts.dtype == torch.int32
        assert longest == longest_key == int(starts.diff().max())
        assert (window_size, enable_gqa) == ((-1, 0), True)
        self.calls.append((starts.tolist(), longest))
        found = []
        for start, end in itertools.pairwise(starts.tolist()):
            text = (tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value))
            attended = scaled_dot_product_attention(*text, is_causal=True, scale=scale, enable_gqa=True)
            found.append(attended[0].transpose(0, 1))
        return torch.cat(found)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=64, **sizes, **heads)).eval()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> ByText:
    made = ByText()
    monkeypatch.setattr(varlen, "_kernel", lambda device: made)
    return made


def batch(packed: bool) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 64, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(1))
    found = {"input_ids": ids, "lengths": torch.tensor(LENGTHS)}
    return found | ({"position_ids": torch.arange(max(LENGTHS)).repeat(len(LENGTHS), 1)} if packed else {})


def states(model: LlamaForCausalLM, attention: str, packed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The hidden states of real tokens, and a gradient of their sum of squares."""
    model.set_attn_implementation(attention)
    model.zero_grad()
    given = batch(packed)
    real = torch.arange(max(LENGTHS)) < given["lengths"][:, None]
    found = hidden_states(model.model, given)[real]
    found.square().sum().backward()
    gradient = model.model.layers[0].self_attn.q_proj.weight.grad
    assert gradient is not None
    return found.detach(), gradient.clone()


@pytest.mark.parametrize("packed", [True, False])
def test_the_kernel_is_given_each_text_by_itself(packed: bool, model: LlamaForCausalLM, kernel: ByText) -> None:
    expected = states(model, "sdpa", packed=False)
    found = states(model, varlen.register(), packed)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    starts = [0, 5, 6, 15, 24] if packed else [0, 9, 18, 27, 36]
    assert kernel.calls == [(starts, 9)] * 3, "once a layer"


@pytest.mark.parametrize("packed", [True, False])
def test_without_the_kernel_a_mask_says_the_same(packed: bool, model: LlamaForCausalLM) -> None:
    """Where no GPU is."""
    expected = states(model, "sdpa", packed=False)
    for ours, theirs in zip(states(model, varlen.register(), packed), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_writing_goes_on_from_kept_keys(model: LlamaForCausalLM, kernel: ByText) -> None:
    ids = batch(packed=False)["input_ids"]
    mask = torch.ones_like(ids)
    mask[1, :4] = 0  # padded on the left
    written = []
    for name in ("sdpa", varlen.register()):
        model.set_attn_implementation(name)
        written.append(model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0))
    assert torch.equal(*written)
    assert not kernel.calls, "what a mask hides it cannot know"


def test_autocast_narrows_what_the_kernel_is_given(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    by_text: Callable[..., torch.Tensor] = ByText()

    def kernel(query: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        seen.append(query.dtype)
        return by_text(query, *given, **named)

    monkeypatch.setattr(varlen, "_kernel", lambda device: kernel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states(model, varlen.register(), packed=True)
    assert seen == [torch.bfloat16] * 3
