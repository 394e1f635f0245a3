"""Texts that the model writes: batches of prompts of any lengths, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# (logits [vocabulary] of one prompt's next token, the prompt's place, the token's place) -> the token
Choose = Callable[["torch.Tensor", int, int], int]

SEED = 0
AT_ONCE = 32  # prompts in a batch; changes no text


def likeliest(logits: torch.Tensor, prompt: int, place: int) -> int:
    """Greedy: the token with the highest logit, the first of equals."""
    return int(logits.argmax())


def drawn(temperature: float, seed: int = SEED) -> Choose:
    """Tokens drawn at a temperature, each by a number that is a function of (seed, prompt, place) alone.

    No generator of torch's is touched, so that sampling leaves no trace in the training.
    """
    if temperature == 0:
        return likeliest

    def choose(logits: torch.Tensor, prompt: int, place: int) -> int:
        shares = np.exp((scaled := logits.double().cpu().numpy() / temperature) - scaled.max()).cumsum()
        number = np.random.default_rng([seed, prompt, place]).random()
        return min(int(np.searchsorted(shares, number * shares[-1], side="right")), len(shares) - 1)

    return choose


def generate(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    max_tokens: int,
    ends: Collection[int],
    choose: Choose = likeliest,
) -> list[list[int]]:
    """For each prompt the tokens that follow, without the one of `ends` that ends them.

    A prompt's text is the same in any company. Prompts are padded on the right like all our batches: the first pass
    needs no mask, and in the later ones a mask hides the padding between a prompt and what was written after it.

    Args:
        model: a causal language model, in evaluation mode.
        prompts: of one token or more each.
        max_tokens: written for a prompt at most.
        ends: tokens after which nothing is written.
        choose: the next token, from its logits.
    """
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))  # similar lengths side by side
    written: dict[int, list[int]] = {}
    for start in range(0, len(order), AT_ONCE):
        places = order[start : start + AT_ONCE]
        written |= zip(places, _batch(model, places, prompts, max_tokens, ends, choose), strict=True)
    return [written[at] for at in range(len(prompts))]


def _batch(
    model: PreTrainedModel,
    places: Sequence[int],
    prompts: Sequence[list[int]],
    max_tokens: int,
    ends: Collection[int],
    choose: Choose,
) -> list[list[int]]:
    import torch

    from llama_experiments.models.threads import matching_threads

    device = model.get_input_embeddings().weight.device
    lengths = torch.tensor([len(prompts[at]) for at in places], device=device)
    width = int(lengths.max())
    ids = torch.zeros(len(places), width, dtype=torch.long, device=device)  # [batch, width]
    for row, at in enumerate(places):
        ids[row, : len(prompts[at])] = torch.tensor(prompts[at], device=device)
    seen = torch.arange(width, device=device) < lengths[:, None]  # [batch, keys] the keys that a new token sees
    written: list[list[int]] = [[] for _ in places]
    open_rows = set(range(len(places)))
    with torch.inference_mode(), matching_threads(model, tokens=len(places)):
        passed = model.model(input_ids=ids, use_cache=True)
        hidden = passed.last_hidden_state[torch.arange(len(places), device=device), lengths - 1]  # [batch, hidden]
        for place in range(max_tokens):
            logits = model.lm_head(hidden).float()  # [batch, vocabulary]
            following = torch.zeros(len(places), 1, dtype=torch.long)
            for row in sorted(open_rows):
                token = choose(logits[row], places[row], place)
                following[row] = token
                if token in ends:
                    open_rows.discard(row)
                else:
                    written[row].append(token)
            if not open_rows or place == max_tokens - 1:
                break
            seen = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
            passed = model.model(
                input_ids=following.to(device),
                attention_mask=seen.long(),
                position_ids=(lengths + place)[:, None],
                past_key_values=passed.past_key_values,
                use_cache=True,
            )
            hidden = passed.last_hidden_state[:, 0]
    return written


def positions_left(model: PreTrainedModel, prompt: list[int], max_tokens: int) -> list[int]:
    """The end of the prompt after which the model has positions left for `max_tokens`."""
    positions = getattr(model.config, "max_position_embeddings", None)
    room = max(1, positions - max_tokens) if positions is not None else len(prompt)
    return prompt[-room:]


def continued(tokenizer: PreTrainedTokenizerFast, prompt: list[int], tokens: list[int]) -> tuple[str, str]:
    """Prompt and continuation as texts, the space between them in the continuation."""
    before = tokenizer.decode(prompt, skip_special_tokens=True)
    whole = tokenizer.decode([*prompt, *tokens], skip_special_tokens=True)
    if whole.startswith(before):
        return before, whole[len(before) :]
    return before, tokenizer.decode(tokens, skip_special_tokens=True)  # a character of theirs is in both
