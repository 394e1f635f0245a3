"""Text generation: documents, completions of prompts, or an assistant's turns in a chat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from llama_experiments.errors import UserError
from llama_experiments.tasks.base import Prompting, recast, tokenize
from llama_experiments.tasks.chat import (
    Refused,
    chat_document,
    chat_prompt,
    chat_template,
    conversation_prompt,
    why_no_chat,
    why_no_conversation,
)
from llama_experiments.tasks.completion import completion_document, without_end
from llama_experiments.tasks.language_modelling import Document, LanguageModelling
from llama_experiments.tasks.prompts import uncalibrated

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.data.examples import Examples
    from llama_experiments.tasks.asking import Asked
    from llama_experiments.tasks.guesses import UnigramText
    from llama_experiments.tasks.prompted_text_generation import PromptedTextGeneration

COLUMNS = {"text": ("text",), "completion": ("prompt", "completion"), "messages": ("messages",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextGeneration(LanguageModelling):
    """The causal language model on rows of one of three formats.

    `text` is learned whole. Of `prompt` and `completion`, which follow each other as they are, the completion is
    learned, and of `messages`, a list of {role, content}, the assistant's turns; with each the token that ends it.
    """

    name: ClassVar[str] = "text generation"

    format: Literal["text", "completion", "messages"] = "text"  # of the rows
    chat_template: Literal["auto", "tokenizer", "plain"] = "auto"  # of messages; auto: the tokenizer's if it has one

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS[self.format]

    def meet(self, tokenizer: PreTrainedTokenizerFast, positions: int) -> TextGeneration:
        if self.format == "messages":
            tokenizer.chat_template = chat_template(self.chat_template, tokenizer) or tokenizer.chat_template
        return self

    def prompted(self, prompting: Prompting) -> PromptedTextGeneration:
        from llama_experiments.tasks.prompted_text_generation import PromptedTextGeneration

        return recast(self, PromptedTextGeneration, prompting=uncalibrated(prompting))

    def guessed(self) -> UnigramText:
        from llama_experiments.tasks.guesses import UnigramText

        return recast(self, UnigramText)

    def encoding_settings(self) -> dict[str, Any]:
        return super().encoding_settings() | {"format": self.format, "chat_template": self.chat_template}

    def reasons_to_leave_out(self, columns: dict[str, list[Any]]) -> list[str | None]:
        if self.format == "text":
            return super().reasons_to_leave_out(columns)
        if self.format == "messages":
            return [why_no_chat(messages) for messages in columns["messages"]]
        return [
            _why_no_completion(prompt, completion)
            for prompt, completion in zip(columns["prompt"], columns["completion"], strict=True)
        ]

    def length_findings(self, examples: Examples) -> dict[str, np.ndarray]:
        found = super().length_findings(examples)
        if self.format == "messages":
            found["that the chat template does not take"] = found.pop("too short to learn from")
        return found

    def documents(
        self, columns: dict[str, list[Any]], tokenizer: PreTrainedTokenizerFast
    ) -> Iterator[Document | None]:
        if self.format == "completion":
            for prompt, completion in zip(columns["prompt"], columns["completion"], strict=True):
                yield completion_document(prompt, completion, tokenizer)
        elif self.format == "messages":
            yield from self._chats(columns["messages"], tokenizer)
        else:
            end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
            texts = columns["text"]
            for text, ids in zip(texts, tokenize(texts, tokenizer, None), strict=True):
                yield Document([*without_end(ids, tokenizer), *end], None, len(text.encode()))

    def prompt(self, text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
        if self.format == "messages":
            return chat_prompt(text, chat_template(self.chat_template, tokenizer), tokenizer)
        return without_end(super().prompt(text, tokenizer), tokenizer)

    @property
    def asked(self) -> tuple[str, ...]:
        return COLUMNS[self.format][:1]

    def why_not_asked(self, value: Any, column: str) -> str | None:
        if self.format != "messages" or isinstance(value, str):
            return super().why_not_asked(value, column)
        return why_no_conversation(value)

    def predicted(self, columns: dict[str, list[Any]], asked: Asked, first_row: int) -> dict[str, list[Any]]:
        from llama_experiments.tasks.generation import positions_left
        from llama_experiments.tasks.writing import write_after

        if self.sample_tokens == 0:
            raise UserError("task.sample_tokens: it is 0, so nothing would be written; give task.sample_tokens=48")
        model, tokenizer = asked.model, asked.tokenizer
        prompts = [
            self.prompt(value, tokenizer)
            if isinstance(value, str)
            else conversation_prompt(value, chat_template(self.chat_template, tokenizer), tokenizer)
            for value in columns[self.asked[0]]
        ]
        prompts = [positions_left(model, ids, self.sample_tokens) for ids in prompts]
        leads = [self.lead(len(ids) + self.sample_tokens) for ids in prompts]
        return {"prediction": write_after(self, prompts, leads, asked, first_row)}

    def _chats(
        self, chats: list[list[dict[str, str]]], tokenizer: PreTrainedTokenizerFast
    ) -> Iterator[Document | None]:
        template = chat_template(self.chat_template, tokenizer)
        why, taken = "", False
        for messages in chats:
            try:
                document = chat_document(messages, template, tokenizer)
            except Refused as error:
                why = why or str(error)
                yield None
            else:
                taken = True
                yield document
        if why and not taken:
            raise UserError(
                f"task.chat_template: the template of the model's tokenizer takes none of the messages ({why}); "
                "plain takes them in any order"
            )


def _why_no_completion(prompt: Any, completion: Any) -> str | None:
    if not isinstance(prompt, str):
        return "no prompt"
    return None if isinstance(completion, str) and completion.strip() else "an empty completion"
