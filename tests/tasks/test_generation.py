"""What the model writes: transformers' own greedy text, the same in any company, drawn by fixed numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks import generation
from llama_experiments.tasks.generation import continued, drawn, generate, likeliest, positions_left

PROMPTS = [[1, 30, 31, 32, 33, 34, 35, 36], [1, 40], [5], [1, 50, 0, 0, 51, 52, 0], [1, 60, 61, 62]]
TOKENS = 20


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(model_folder).eval()


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


def without_cache(model: LlamaForCausalLM, prompt: list[int], tokens: int) -> list[int]:
    """A prompt alone, all of it passed again for every token."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(tokens):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_is_transformers_own_and_the_plain_loops(model: LlamaForCausalLM) -> None:
    found = generate(model, PROMPTS, TOKENS, ends=())
    assert found == [without_cache(model, prompt, TOKENS) for prompt in PROMPTS]
    assert len({tuple(text) for text in found}) > 1
    for prompt, text in zip(PROMPTS, found, strict=True):
        settings = {"do_sample": False, "max_new_tokens": TOKENS, "eos_token_id": None}
        mask = torch.ones(1, len(prompt), dtype=torch.long)
        theirs = model.generate(torch.tensor([prompt]), attention_mask=mask, **settings)[0]
        assert theirs.tolist() == [*prompt, *text]


@pytest.mark.parametrize("at_once", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_text_is_the_same_in_any_company(
    at_once: int, temperature: float, model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(model, PROMPTS, TOKENS, {7, 8}, drawn(temperature))
    monkeypatch.setattr(generation, "AT_ONCE", at_once)
    assert generate(model, PROMPTS, TOKENS, {7, 8}, drawn(temperature)) == expected


def test_nothing_is_written_after_an_end(model: LlamaForCausalLM) -> None:
    whole = generate(model, PROMPTS, TOKENS, (), drawn(1.0))
    middle = next(place for place, token in enumerate(whole[0]) if place > 3 and token not in whole[0][:place])
    ends = {whole[0][middle], whole[1][0]}
    found = generate(model, PROMPTS, TOKENS, ends, drawn(1.0))
    for text, longer in zip(found, whole, strict=True):
        stop = next((place for place, token in enumerate(longer) if token in ends), TOKENS)
        assert text == longer[:stop]
    assert found[1] == []
    assert 0 < len(found[0]) < TOKENS


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_no_more_is_written_than_asked_for(tokens: int, model: LlamaForCausalLM) -> None:
    assert [len(text) for text in generate(model, PROMPTS, tokens, ends=())] == [tokens] * len(PROMPTS)


def test_what_is_drawn_is_a_function_of_the_seed_alone(model: LlamaForCausalLM) -> None:
    found = []
    for other in (1, 2):
        torch.manual_seed(other)
        np.random.seed(other)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
        found.append(generate(model, PROMPTS, TOKENS, (), drawn(1.0)))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr]
    assert found[0] == found[1] != generate(model, PROMPTS, TOKENS, (), drawn(1.0, seed=1))
    assert generate(model, PROMPTS, TOKENS, (), drawn(0)) == generate(model, PROMPTS, TOKENS, (), likeliest)


def test_two_prompts_alike_do_not_go_on_alike(model: LlamaForCausalLM) -> None:
    one, other = generate(model, [PROMPTS[1]] * 2, TOKENS, (), drawn(1.0))
    assert one != other


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.5, -1.0, 2.0, -torch.inf, 1.0])
    for temperature in (0.5, 1.0, 2.0):
        choose = drawn(temperature)
        drawn_tokens = [choose(logits, prompt, place) for prompt in range(40) for place in range(100)]
        shares = np.bincount(drawn_tokens, minlength=5) / len(drawn_tokens)
        expected = torch.softmax(logits / temperature, dim=0).numpy()
        np.testing.assert_allclose(shares, expected, atol=0.03)
        assert shares[3] == 0


def test_a_cold_temperature_is_greedy_and_overflows_nothing() -> None:
    assert drawn(1e-6)(torch.tensor([1000.0, 999.0, -1000.0]), 0, 0) == 0


def test_a_prompt_leaves_room_for_what_is_written(model: LlamaForCausalLM) -> None:
    assert model.config.max_position_embeddings == 64
    assert positions_left(model, list(range(100)), 20) == list(range(56, 100))
    assert positions_left(model, list(range(44)), 20) == list(range(44))
    assert positions_left(model, [1, 2, 3], 1000) == [3]


@pytest.mark.parametrize("text", ["The kettle was warm.", "The café – 12 € – was cold.", "a\nb  c "])
def test_prompt_and_continuation_together_are_the_text(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer(text)["input_ids"]
    for cut in range(1, len(ids)):
        before, after = continued(tokenizer, ids[:cut], ids[cut:])
        if "\ufffd" not in before:  # a letter that is cut in two
            assert before + after == text
