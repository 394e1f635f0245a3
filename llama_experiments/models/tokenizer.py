"""Load the tokenizer of a model folder so that its ids are the ones the model was trained on.

`transformers` 5 may rebuild a Llama tokenizer from its vocabulary and merges instead of using
`tokenizer.json` as it is written, and converts a lone sentencepiece `tokenizer.model` so that leading
spaces and runs of spaces get other ids than sentencepiece gives them. Neither happens here.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.sharing import files_key, shared

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

# Said to every tokenizer when it is made, so that `save_pretrained` writes it down and a later plain
# `AutoTokenizer.from_pretrained` does the same.
SETTINGS: dict[str, Any] = {"split_special_tokens": True, "padding_side": "right"}

# Names of tokens made for padding or never used in training, best first.
PAD_NAMES = ("<pad>", "[PAD]", "<|pad|>", "<PAD>", "<|finetune_right_pad_id|>", "<|finetune_right_pad|>")
SPARE_NAME_PARTS = ("reserved", "unused", "dummy", "placeholder")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of the model in `folder`: its `tokenizer.json`, else its sentencepiece `tokenizer.model`.

    With a `tokenizer.json` the backend is exactly that file's; special tokens, chat template and, where it
    leaves the backend alone, the class come from the files beside it. With only a `tokenizer.model` the ids
    are sentencepiece's own (see `sentencepiece_conversion` for its limits) with the model's bos in front,
    and the special tokens are the model's; the chat template, `model_max_length` and pad token of a
    `tokenizer_config.json` are honoured. No pad token is invented.

    The tokenizer pads on the right and truncates only when asked to, and reads special tokens spelled out
    in a text as text: `</s>` in a review is four characters, never the end of a sequence. All of this holds
    for the backend on its own too, and after `save_pretrained` and a plain `AutoTokenizer.from_pretrained`.

    Limits: a chat template spells its special tokens out, so whoever tokenizes one has to call the
    tokenizer with `split_special_tokens=False` (for `apply_chat_template`: in `tokenizer_kwargs`). That
    leaves the backend reading special tokens until the tokenizer, not its backend, is next called without.
    Added tokens that are not marked special are words of the vocabulary and are found in texts.

    Raises:
        UserError: when `folder` has neither file, or the file is no tokenizer or cannot be reproduced
        exactly.
    """
    folder = Path(folder)
    files = sorted(file for file in folder.glob("*") if file.is_file())
    # Jobs change their tokenizers: each has a copy, in which what no file tells must be said again.
    tokenizer = copy.deepcopy(shared("tokenizers", (str(folder), files_key(files)), lambda: _from_files(folder)))
    _read_special_tokens_as_text(tokenizer)
    return tokenizer


def _from_files(folder: Path) -> PreTrainedTokenizerFast:
    if (folder / "tokenizer.json").is_file():
        return _from_tokenizer_json(folder)
    if (folder / "tokenizer.model").is_file():
        return _from_sentencepiece(folder)
    raise UserError(f"{folder} has no tokenizer: neither tokenizer.json nor tokenizer.model is there.")


def _from_tokenizer_json(folder: Path) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    written = _read_tokenizer_json(folder / "tokenizer.json")
    # transformers would take over a padding written in the file and invent the pad token it names.
    preset = written.padding is not None or written.truncation is not None
    written.no_padding()
    written.no_truncation()
    tokenizer = None if preset else _by_its_class(folder)
    if tokenizer is None or not _same(tokenizer.backend_tokenizer, written):
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(
                folder, tokenizer_object=written, local_files_only=True, **SETTINGS
            )
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"The tokenizer files in {folder} do not fit together: {reason}") from error
        if not _same(tokenizer.backend_tokenizer, written):
            raise UserError(f"The tokenizer settings in {folder} contradict its tokenizer.json.")
    # A Llama takes no token types; the plain class would offer them.
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
    return tokenizer


def _by_its_class(folder: Path) -> PreTrainedTokenizerFast | None:
    """What transformers makes of the folder, if it can; its class may have rebuilt the backend."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **SETTINGS)
    except Exception as error:  # whatever it was, the plain class needs none of it
        logger.debug("AutoTokenizer cannot load %s: %s", folder, error)
        return None
    return tokenizer if isinstance(tokenizer, PreTrainedTokenizerFast) else None


def _read_tokenizer_json(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"{path} is not a tokenizer: {error}") from error


def _same(backend: Tokenizer, written: Tokenizer) -> bool:
    """Whether `backend` gives the ids that `written` does; it may know more special tokens."""
    ours, theirs = json.loads(backend.to_str()), json.loads(written.to_str())
    parts = ["normalizer", "pre_tokenizer", "model", "decoder"]
    if theirs["post_processor"] is not None or backend.num_special_tokens_to_add(False):
        parts.append("post_processor")  # transformers writes one that adds nothing where there was none
    ids, ids_written = ({token["content"]: token["id"] for token in one["added_tokens"]} for one in (ours, theirs))
    # Tokens not marked special are found in texts, so there must be no new or changed ones.
    found_in_texts = [token for token in ours["added_tokens"] if not token["special"]]
    return (
        all(ours[part] == theirs[part] for part in parts)
        and ids_written.items() <= ids.items()
        and all(token in theirs["added_tokens"] for token in found_in_texts)
    )


def _from_sentencepiece(folder: Path) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    from llama_experiments.models.sentencepiece_conversion import convert

    backend, roles = convert(folder / "tokenizer.model")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **{**_config_beside(folder), **roles},
        **SETTINGS,
    )


def _config_beside(folder: Path) -> dict[str, Any]:
    """What the files beside a `tokenizer.model` say that the model itself does not."""
    config: dict[str, Any] = {}
    path = folder / "tokenizer_config.json"
    if path.is_file():
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON: {error}") from error
    names = ("model_max_length", "chat_template", "pad_token")
    kept = {name: config[name] for name in names if config.get(name)}
    if isinstance(kept.get("pad_token"), dict):
        kept["pad_token"] = kept["pad_token"]["content"]
    template = folder / "chat_template.jinja"
    if template.is_file():
        kept["chat_template"] = template.read_text(encoding="utf-8")
    return kept


def _read_special_tokens_as_text(tokenizer: PreTrainedTokenizerFast) -> None:
    from tokenizers import AddedToken

    backend = tokenizer.backend_tokenizer
    # A file may list its eos among the added tokens without marking it special: it would be found in texts.
    unmarked = [
        token
        for token in tokenizer.added_tokens_decoder.values()
        if not token.special and token.content in tokenizer.all_special_tokens
    ]
    marked = [AddedToken(token.content, special=True, normalized=False) for token in unmarked]
    backend.add_special_tokens(marked)
    tokenizer.split_special_tokens = True
    backend.encode_special_tokens = True
    for name, index in zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True):
        if name != tokenizer.unk_token and _comes_from_text(backend, name, index):
            logger.warning("The tokenizer's own merges read the text %r as its special token.", name)


def _comes_from_text(backend: Tokenizer, name: str, index: int) -> bool:
    texts = [name, f" {name}", f"a{name}b", f"a {name} b"]
    encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    return any(index in encoding.ids for encoding in encodings)


def unused_token_id(
    tokenizer: PreTrainedTokenizerFast, vocabulary_size: int, real: Collection[int] = ()
) -> int | None:
    """An id to pad with: one that no text ever gives and that is neither bos nor eos.

    In order of preference: the tokenizer's own pad token; a special token named like one (`<pad>`,
    `<|finetune_right_pad_id|>`...) or like a spare one (`<|reserved_special_token_0|>`...); the unknown
    token, where every text can be written in bytes; any other special token; an embedding row that no token
    uses.

    Args:
        tokenizer: as `load_tokenizer` returns it.
        vocabulary_size: rows of the model's embedding; the id is smaller than this.
        real: further ids that stand for something, such as the several eos of a model for chats.

    Returns:
        The id, or None when there is no such id.
    """
    backend = tokenizer.backend_tokenizer
    taken = {tokenizer.bos_token_id, tokenizer.eos_token_id, *real}
    if not _writes_every_text(backend):
        taken.add(tokenizer.unk_token_id)
    special = {
        token.content: index
        for index, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special and index not in taken and index < vocabulary_size
    }
    spare = [name for name in special if any(part in name.lower() for part in SPARE_NAME_PARTS)]
    own = None if tokenizer.pad_token == tokenizer.unk_token else tokenizer.pad_token
    # Later ids first among the rest: tokens that a model uses in chats tend to come early.
    for name in [own, *PAD_NAMES, *spare, tokenizer.unk_token, *reversed(special)]:
        if name in special and not _comes_from_text(backend, name, special[name]):
            return int(special[name])
    used = set(tokenizer.get_vocab().values())
    return next((index for index in range(vocabulary_size) if index not in used | taken), None)


def _writes_every_text(backend: Tokenizer) -> bool:
    """Whether the backend can write any text at all in bytes, so that it never gives its unknown token."""
    from tokenizers import pre_tokenizers

    vocabulary = backend.get_vocab(with_added_tokens=False)
    if getattr(backend.model, "byte_fallback", False):
        return all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    by_bytes = backend.pre_tokenizer is not None and b'"ByteLevel"' in backend.pre_tokenizer.__getstate__()
    return by_bytes and all(character in vocabulary for character in pre_tokenizers.ByteLevel.alphabet())
