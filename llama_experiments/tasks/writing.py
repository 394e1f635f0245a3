"""Texts written after prompts that a user gave, at once or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llama_experiments.tasks.generation import Choose, continued, drawn, generate
from llama_experiments.tasks.language_modelling import LanguageModelling, ends

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.tasks.asking import Asked

UNFINISHED = "\ufffd"  # of a character some of whose bytes are still to come


def write_after(
    task: LanguageModelling,
    prompts: Sequence[list[int]],
    leads: Sequence[list[int]],
    asked: Asked,
    first_row: int,
) -> list[str]:
    """A continuation of each prompt, by the task's settings of samples.

    Tokens are drawn by the number of the row, so the same input gives the same texts, in chunks of any size.

    Args:
        leads: what the model reads before each prompt, and is not told as its beginning.
    """
    draw = drawn(task.sample_temperature)

    def choose(logits: torch.Tensor, prompt: int, place: int) -> int:
        return draw(logits, first_row + prompt, place)

    over = ends(asked.model, asked.tokenizer)
    chosen: Choose = choose
    if asked.on_text is not None:
        assert len(prompts) == 1, "one text at a time can be shown as it is written"
        chosen = _shown(choose, over, prompts[0], asked.tokenizer, asked.on_text)
    whole = [[*lead, *prompt] for lead, prompt in zip(leads, prompts, strict=True)]
    with asked.arithmetic():
        written = generate(asked.model, whole, task.sample_tokens, over, chosen)
    return [continued(asked.tokenizer, prompt, tokens)[1] for prompt, tokens in zip(prompts, written, strict=True)]


def _shown(
    choose: Choose,
    over: set[int],
    prompt: list[int],
    tokenizer: PreTrainedTokenizerFast,
    on_text: Callable[[str], None],
) -> Choose:
    """`choose`, telling each piece of text once it is sure."""
    tokens: list[int] = []
    told = 0

    def choose_and_tell(logits: torch.Tensor, number: int, place: int) -> int:
        nonlocal told
        token = choose(logits, number, place)
        if token not in over:
            tokens.append(token)
            text = continued(tokenizer, prompt, tokens)[1].rstrip(UNFINISHED)
            on_text(text[told:])
            told = max(told, len(text))
        return token

    return choose_and_tell
