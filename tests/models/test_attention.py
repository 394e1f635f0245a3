"""Our causal attention says what torch's says, forward and backward, and steps aside where it must."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from llama_experiments.models import attention
from llama_experiments.models.attention import BLOCK, causal_attention, chunk_size, register
from llama_experiments.models.attention import attention as attend

SHAPES = [  # batch, heads, key heads, length, head size, chunk
    (1, 1, 1, 1, 8, 32),
    (2, 8, 4, 64, 8, 32),  # grouped, whole chunks
    (3, 6, 3, 97, 16, 32),  # the last chunk is one query
    (2, 4, 4, 130, 48, 64),
    (4, 8, 2, 33, 64, 64),  # shorter than a chunk
    (16, 8, 1, 200, 8, 32),  # several blocks of rows
]


def tensors(batch: int, heads: int, groups: int, length: int, size: int) -> list[torch.Tensor]:
    """Queries, keys and values as a Llama makes them: [batch, length, heads, size], turned."""
    random = torch.Generator().manual_seed(length)
    made = [torch.randn(batch, length, number, size, generator=random) for number in (heads, groups, groups)]
    return [tensor.transpose(1, 2).requires_grad_() for tensor in made]


@pytest.mark.parametrize(("batch", "heads", "groups", "length", "size", "chunk"), SHAPES)
def test_output_and_gradients_are_sdpas(
    batch: int, heads: int, groups: int, length: int, size: int, chunk: int
) -> None:
    found: list[list[torch.Tensor]] = []
    weights = torch.randn(batch, length, heads, size, generator=torch.Generator().manual_seed(1))
    for ours in (True, False):
        query, key, value = tensors(batch, heads, groups, length, size)
        if ours:
            output = causal_attention(query, key, value, 0.3, chunk)
        else:
            output = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
            output = output.transpose(1, 2)
        made = torch.autograd.grad((output * weights).sum(), (query, key, value))
        found.append([output.detach(), *made])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_one_of_the_shapes_has_several_blocks() -> None:
    assert BLOCK < 16 * 8 * 32 * 200 * 4


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_a_gradient_of_one_of_them_alone(wanted: tuple[bool, bool, bool]) -> None:
    """As with LoRA on queries or values only."""
    given = [tensor.detach().requires_grad_(one) for tensor, one in zip(tensors(2, 4, 2, 70, 8), wanted, strict=True)]
    moving = next(tensor for tensor in given if tensor.requires_grad)
    (mine,) = torch.autograd.grad(causal_attention(*given, 0.3, 32).square().sum(), moving)
    output = scaled_dot_product_attention(*given, is_causal=True, scale=0.3, enable_gqa=True)
    (theirs,) = torch.autograd.grad(output.square().sum(), moving)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_without_a_backward_pass_the_output_is_the_same() -> None:
    query, key, value = tensors(2, 8, 4, 200, 8)
    with torch.inference_mode():
        alone = causal_attention(query, key, value, 0.3, 32)
    assert torch.equal(alone, causal_attention(query, key, value, 0.3, 32).detach())


@pytest.mark.parametrize(
    ("rows", "length", "size", "expected"),
    [
        (64, 47, 8, None),
        (64, 48, 8, 32),
        (64, 128, 16, 32),
        (48, 512, 48, 64),
        (64, 4096, 8, None),  # half a gigabyte of probabilities
    ],
)
def test_the_rule(rows: int, length: int, size: int, expected: int | None) -> None:
    assert chunk_size(rows, length, size) == expected


class Layer(torch.nn.Module):
    """What transformers tells of an attention layer."""

    is_causal = True
    num_key_value_groups = 2


def called(monkeypatch: pytest.MonkeyPatch, query: torch.Tensor, key: torch.Tensor, **settings: Any) -> bool:
    """Whether our kernel was."""
    calls: list[int] = []
    monkeypatch.setattr(attention, "causal_attention", lambda *given: calls.append(1) or causal_attention(*given))
    output, _ = attend(Layer(), query, key, key, settings.pop("mask", None), **settings)
    assert output.shape == (query.shape[0], query.shape[2], query.shape[1], query.shape[3])
    return bool(calls)


def test_it_is_used_for_whole_causal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, _ = tensors(2, 8, 4, 200, 8)
    assert called(monkeypatch, query, key)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert called(monkeypatch, query, key)


@pytest.mark.parametrize("why", ["mask", "dropout", "not causal", "cache", "short", "half"])
def test_it_steps_aside(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, _ = tensors(2, 8, 4, 40 if why == "short" else 200, 8)
    settings: dict[str, Any] = {
        "mask": {"mask": torch.ones(200, 200, dtype=torch.bool).tril()[None, None]},
        "dropout": {"dropout": 0.1},
        "not causal": {"is_causal": False},
    }.get(why, {})
    if why == "cache":
        query = query[:, :, -1:]
    if why == "half":
        query, key = query.bfloat16(), key.bfloat16()
    assert not called(monkeypatch, query, key, **settings)


@pytest.mark.parametrize("size", [8, 48])
def test_with_values_in_bf16_it_is_as_near_as_these(size: int) -> None:
    """What is found and the gradient of values are bf16; none is off by more than what bf16 rounds, 2**-9, thrice."""
    found: list[list[torch.Tensor]] = []
    weights = torch.randn(2, 200, 8, size, generator=torch.Generator().manual_seed(1)).bfloat16()
    for narrow in (True, False):
        query, key, value = tensors(2, 8, 4, 200, size)
        value = value.detach().bfloat16().to(torch.bfloat16 if narrow else torch.float32).requires_grad_()
        output = causal_attention(query, key, value, 0.3, 64)
        assert output.dtype == value.dtype
        made = torch.autograd.grad((output * weights.to(output.dtype)).sum(), (query, key, value))
        assert [one.dtype for one in made] == [torch.float32, torch.float32, value.dtype]
        found.append([output.detach(), *made])
    for mine, exact in zip(*found, strict=True):
        assert 0 < (mine - exact).norm() / exact.norm() < 3 * 2**-9


def test_under_autocast_the_attention_is_in_fp32() -> None:
    """Also where torch's kernel does it: in bf16 it is slower at these lengths."""
    for length in (40, 200):
        query, key, _ = tensors(2, 8, 4, length, 8)
        exact, _ = attend(Layer(), query, key, key, None)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, _ = attend(Layer(), query, key, key, None)
        assert torch.equal(found, exact)


def test_a_llama_says_the_same_with_it_and_writes_the_same() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
        )
    ).eval()
    ids = torch.randint(0, 64, (2, 150), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, :40] = 0  # padded on the left, as for writing
    found = []
    for name in ("sdpa", register()):
        model.set_attn_implementation(name)
        assert model.config._attn_implementation == name
        model.zero_grad()
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        gradient = model.model.layers[0].self_attn.q_proj.weight.grad
        with torch.inference_mode():
            masked = model(input_ids=ids, attention_mask=mask).logits[mask.bool()]
            written = model.generate(ids[:, :140], max_new_tokens=12, do_sample=False, pad_token_id=0)
        assert gradient is not None
        found.append((loss.detach(), gradient.clone(), masked, written))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
