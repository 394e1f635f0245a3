"""A prompt and its completion as one document, of which the completion is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_experiments.tasks.language_modelling import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def completion_document(prompt: str, completion: str, tokenizer: PreTrainedTokenizerFast) -> Document:
    """Prompt and completion as one text, so that its tokens are those of a text; then the end.

    A token that begins in the prompt and ends in the completion is learned.
    """
    encoding = tokenizer.backend_tokenizer.encode(prompt + completion)
    ids = without_end(encoding.ids, tokenizer)
    scored = [int(end > len(prompt)) for _, end in encoding.offsets[: len(ids)]]
    if tokenizer.eos_token_id is not None:
        ids, scored = [*ids, tokenizer.eos_token_id], [*scored, 1]
    return Document(ids, scored, len(completion.encode()))


def without_end(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens without the one that some tokenizers write at every text's end."""
    ends = tokenizer.eos_token_id is not None and ids[-1:] == [tokenizer.eos_token_id]
    return list(ids[:-1]) if ends else list(ids)
