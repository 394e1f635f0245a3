"""Chats as documents, through a chat template, of which the assistant's turns are learned."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, Literal

from llama_experiments.errors import UserError
from llama_experiments.tasks.completion import without_end
from llama_experiments.tasks.language_modelling import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROLES = ("system", "user", "assistant")

# For a tokenizer without a template. Transformers' own language for them, so that one can be replaced by another.
PLAIN = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ message['role'].capitalize() }}: {{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nAssistant:' }}{% endif %}"
)

# What a template is given for a message's content. It never sees the content itself, in which special tokens may be
# spelled out. The wide spaces tell whether the template strips a content, on either side.
SPACE = "\u2003"
MARK = re.compile(f"({SPACE}?)\ue000(\\d+)\ue001({SPACE}?)")


class Refused(Exception):
    """A template does not take these messages; its words why."""


@dataclasses.dataclass(frozen=True)
class _Span:
    """A part of a chat's text, in characters."""

    start: int
    end: int
    token: int = 0  # of a special token of the template
    learned: bool = False  # whether it is what an assistant says


def why_no_chat(messages: Any) -> str | None:
    """Why messages cannot be learned from, or None."""
    if (reason := _why_no_messages(messages)) is not None:
        return reason
    said = any(message["role"] == "assistant" and message["content"].strip() for message in messages)
    return None if said else "nothing that an assistant says"


def why_no_conversation(messages: Any) -> str | None:
    """Why an assistant cannot answer messages, or None."""
    if (reason := _why_no_messages(messages)) is not None:
        return reason
    return None if messages[-1]["role"] != "assistant" else "nothing to answer after the assistant's last word"


def _why_no_messages(messages: Any) -> str | None:
    good = isinstance(messages, list | tuple) and all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
        for message in messages
    )
    if not good or not messages:
        return "messages that are no list of {role, content}"
    if any(message["role"] not in ROLES for message in messages):
        return f"a role that is none of {', '.join(ROLES)}"
    return None


def chat_template(setting: Literal["auto", "tokenizer", "plain"], tokenizer: PreTrainedTokenizerFast) -> str | None:
    """A template of ours, or None for the tokenizer's own.

    Raises:
        UserError: the tokenizer's own was asked for and there is none.
    """
    if setting == "plain" or (setting == "auto" and not tokenizer.chat_template):
        return PLAIN
    if not tokenizer.chat_template:
        raise UserError(
            "task.chat_template: the model's tokenizer has no chat template; use plain, or a model made for chats"
        )
    return None


def chat_document(
    messages: list[dict[str, str]], template: str | None, tokenizer: PreTrainedTokenizerFast
) -> Document:
    """The tokens of a chat. Learned is what the assistant says, up to the special token that ends its turn.

    The template's special tokens are tokens, those spelled out in a message are text. What lies between two special
    tokens is one text, so that the ids are those of `apply_chat_template` for tokenizers that take what follows a
    special token for a text's beginning, as those of Llama 2 and 3 do.

    Raises:
        Refused: the template does not take the messages, or shows nothing that the assistant says.
    """
    text, contents, specials = _rendered(messages, template, tokenizer)
    spans = [content for content in contents if content.learned]
    learned = [(_with_space(text, span), _with_end(span, contents, specials)) for span in spans]
    if not spans:
        raise Refused("it shows nothing that the assistant says")
    ids: list[int] = []
    scored: list[int] = []
    at = 0
    for special in [*specials, _Span(len(text), len(text), token=-1)]:
        encoding = tokenizer.backend_tokenizer.encode(text[at : special.start], add_special_tokens=False)
        places = [(at + start, at + end) for start, end in encoding.offsets]
        ids += encoding.ids
        if special.token >= 0:
            ids.append(special.token)
            places.append((special.start, special.end))
        scored += [int(any(a < end and start < b for a, b in learned)) for start, end in places]
        at = special.end
    return Document(ids, scored, sum(len(text[span.start : span.end].encode()) for span in spans))


def chat_prompt(text: str, template: str | None, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens after which the assistant answers a user's text."""
    return conversation_prompt([{"role": "user", "content": text}], template, tokenizer)


def conversation_prompt(
    messages: list[dict[str, str]], template: str | None, tokenizer: PreTrainedTokenizerFast
) -> list[int]:
    """The tokens after which the assistant goes on with a conversation.

    Raises:
        UserError: the template does not take it.
    """
    try:
        document = chat_document([*messages, {"role": "assistant", "content": "."}], template, tokenizer)
    except Refused as error:
        raise UserError(f"task.chat_template: it does not take the messages: {error}") from error
    learned = document.scored or [0]
    last = len(learned) - learned[::-1].index(1)  # of what the assistant says last
    first = next((at + 1 for at in range(last - 1, -1, -1) if not learned[at]), 0)
    return without_end(document.ids[:first], tokenizer)


def _rendered(
    messages: list[dict[str, str]], template: str | None, tokenizer: PreTrainedTokenizerFast
) -> tuple[str, list[_Span], list[_Span]]:
    """The chat's text, and in it the contents of the messages and the special tokens of the template."""
    marked = [
        {"role": message["role"], "content": f"{SPACE}\ue000{number}\ue001{SPACE}"}
        for number, message in enumerate(messages)
    ]
    try:
        rendered = str(tokenizer.apply_chat_template(marked, chat_template=template, tokenize=False))
    except (
        Exception
    ) as error:  # a template is a program, of whoever made the model; transformers runs it in a sandbox
        raise Refused(" ".join(str(error).split()) or type(error).__name__) from error
    special_ids = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    longest_first = sorted(special_ids, key=len, reverse=True)
    names = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
    text, contents, specials, at = "", [], [], 0
    for found in [*MARK.finditer(rendered), None]:
        ours = rendered[at : found.start() if found else len(rendered)]
        specials += [
            _Span(len(text) + name.start(), len(text) + name.end(), token=special_ids[name[0]])
            for name in names.finditer(ours)
        ]
        text += ours
        if found is None:
            break
        if int(found[2]) >= len(messages):
            raise Refused("it writes characters that stand for messages here (U+E000)")
        message = messages[int(found[2])]
        content = message["content"] if found[1] else message["content"].lstrip()
        content = content if found[3] else content.rstrip()
        contents.append(_Span(len(text), len(text) + len(content), learned=message["role"] == "assistant"))
        text += content
        at = found.end()
    return text, contents, specials


def _with_space(text: str, span: _Span) -> int:
    """The start of what an assistant says, with a space before it: for most tokenizers that is the first word's."""
    return len(text[: span.start].rstrip(" "))


def _with_end(span: _Span, contents: list[_Span], specials: list[_Span]) -> int:
    """The end of what an assistant says, with the special token that ends its turn, if one does."""
    following = next((content.start for content in contents if content.start >= span.end and content != span), None)
    end = next((special for special in specials if special.start >= span.end), None)
    if end is None or (following is not None and following < end.start):
        return span.end
    return end.end
