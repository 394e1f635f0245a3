"""Turn a sentencepiece model into a `tokenizers` backend that gives the same ids.

What is converted: BPE and Unigram models, byte fallback, the dummy prefix, whitespace rules and user-defined
symbols. A model that gives other ids on any of the probes below is refused rather than converted roughly.

Limits, neither of which touches a Llama model:
- A normalization table (`nfkc`, `nmt_nfkc`...) is left to the `tokenizers` library, which reads it one
  grapheme at a time: stacked combining marks, a mark after a character of the table and decomposed Hangul can
  come out differently. A warning says so.
- Unigram scores are added up in 64 bits rather than sentencepiece's 32, so of two segmentations with the same
  score (`aba bab a` and `a bab aba`) the other one can win.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

SPACE = "▁"  # what sentencepiece writes for a space
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # ModelProto.SentencePiece.Type
UNIGRAM, BPE = 1, 2  # TrainerSpec.ModelType

# Texts on which converters have been seen to go wrong. Each model adds the spellings of its own odd pieces.
_WORDS = (
    "|a| a|  a|a |a  | a b  c   d    |Hello, world!|It's 12,345.67|0|007|1234567890123|2024-01-31T12:00:00Z"
    "|\n|\n\n| \n |\t|\ta\tb|a\r\nb\n|a\u00a0b|a\u3000b|\u200b|a\u200bb|\x00|a\x7fb|def f():\n    return\n\n"
    "|naïve café|e\u0301te\u0301|\u0301|Ω≈ç√∫|日本語のテキスト|你好，世界|한국어|नमस्ते|مرحبا|ﬁ ½ ① Ａ|İı"
    "|🙂|a🙂b|👩\u200d👩\u200d👧|🇫🇷|\U00010348|\ufffd|\ufeffa|http://a.b/c?d=e&f=%20|-- --  -----  ---"
    "|<s>|</s>|<unk>|a </s> b|a<s>b|<0x0A>|a <0x0A> b|<0xFF><0xFF>|<pad>|[INST] x [/INST]|▁|▁▁▁|a▁b|▁ ▁|a ▁"
)
PROBES: tuple[str, ...] = (
    *_WORDS.split("|"),
    *(unit * 40 for unit in ("a", "ab", "aab", "=", "\n", "\t")),
    *(edge + " " * count + edge for count in range(1, 70) for edge in ("", "a")),
)


def convert(path: Path) -> tuple[Tokenizer, dict[str, str]]:
    """Convert the sentencepiece model at `path`.

    Returns:
        The backend, which prepends the model's bos (no eos) when asked for special tokens, and the special
        tokens that the model has, by role: `bos_token`, `eos_token`, `unk_token`, `pad_token`.

    Raises:
        UserError: when `path` is not a sentencepiece model, or is one whose ids cannot be reproduced exactly.
    """
    from tokenizers import AddedToken, processors

    processor, proto = _read(path)
    model_type = proto.trainer_spec.model_type
    if model_type not in (UNIGRAM, BPE) or any(piece.type == UNUSED for piece in proto.pieces):
        raise _cannot(path, "only BPE and Unigram models without unused pieces can be converted")

    backend = _bpe(proto, path) if model_type == BPE else _unigram(proto, path)
    backend.normalizer = _normalizer(proto)
    backend.decoder = _decoder(proto)
    special = [piece.piece for piece in proto.pieces if piece.type in (CONTROL, UNKNOWN)]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    backend.encode_special_tokens = True

    ids = {role: getattr(proto.trainer_spec, f"{role}_id") for role in ("bos", "eos", "unk", "pad")}
    roles = {f"{role}_token": proto.pieces[at].piece for role, at in ids.items() if 0 <= at < len(proto.pieces)}
    if "bos_token" in roles:
        bos, bos_id = roles["bos_token"], ids["bos"]
        backend.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", f"{bos}:1", "$B:1"], special_tokens=[(bos, bos_id)]
        )
    _verify(backend, processor, proto, path)
    return backend, roles


def _read(path: Path) -> tuple[Any, Any]:
    from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

    content = path.read_bytes()
    try:
        if not content:  # which the processor would take for "no model given"
            raise RuntimeError("the file is empty")
        processor = SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise UserError(f"{path} is not a sentencepiece model.") from error
    return processor, sentencepiece_model_pb2.ModelProto.FromString(content)


def _cannot(path: Path, reason: str) -> UserError:
    return UserError(f"{path} cannot be converted with its ids kept: {reason}; put a tokenizer.json beside it.")


def _bpe(proto: Any, path: Path) -> Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = [piece.piece for piece in proto.pieces]
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == NORMAL}
    if lost := {char for name in scores if len(name) > 1 for char in name if char not in scores}:
        # sentencepiece would merge it straight into a longer piece; `tokenizers` would see an unknown.
        raise _cannot(path, f"the character {min(lost)!r} has no piece of its own")

    settings: dict[str, Any] = {
        "vocab": {name: index for index, name in enumerate(names)},
        "merges": _merges(scores),
        "unk_token": names[proto.trainer_spec.unk_id],
        "fuse_unk": True,
        "byte_fallback": proto.trainer_spec.byte_fallback,
    }
    plain = Tokenizer(models.BPE(**settings))
    symbols = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED]
    if not symbols:
        return plain

    # A user-defined symbol is cut out of the text and looked up whole, which is what `ignore_merges` does for
    # a stretch of text that is a piece. Stretches that spell a piece they would not merge to are cut in two.
    backend = Tokenizer(models.BPE(**settings, ignore_merges=True))
    others = [name for name in names if name not in symbols and not _is_itself(plain, name)]
    symbols.sort(key=len, reverse=True)  # the longest that fits is taken
    cuts = [_cut_whole(plain, name, path) for name in others]
    backend.pre_tokenizer = pre_tokenizers.Sequence([_cut(map(re.escape, symbols)), _cut(cuts)])
    return backend


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every way to make a normal piece of two others, best merged piece first.

    Among equal scores sentencepiece takes the leftmost pair, so a run of spaces (Llama 2's pieces of 2 to 16
    spaces all score the same) becomes as many of the longest piece as fit, and the rest. `tokenizers` ranks
    pairs instead: doubling first, then joining the unequal parts that remain, comes to the same.
    """
    pairs = [
        (name[:cut], name[cut:])
        for name in scores
        for cut in range(1, len(name))
        if name[:cut] in scores and name[cut:] in scores
    ]

    def rank(pair: tuple[str, str]) -> tuple[float, bool, int, int]:
        merged = pair[0] + pair[1]
        return -scores[merged], pair[0] != pair[1], len(merged), -len(pair[0])

    return sorted(pairs, key=rank)


def _is_itself(plain: Tokenizer, name: str) -> bool:
    return plain.encode(name).ids == [plain.token_to_id(name)]


def _cut_whole(plain: Tokenizer, name: str, path: Path) -> str:
    """A pattern for the end of the first token of `name`, where `name` is the whole stretch of text."""
    first = plain.encode(name).offsets[0][1]
    if first == len(name) or (name[first:] in plain.get_vocab() and not _is_itself(plain, name[first:])):
        raise _cannot(path, f"{name!r} spelled out between user-defined symbols would become that piece")
    return rf"(?<=\A{re.escape(name[:first])})(?={re.escape(name[first:])}\z)"


def _unigram(proto: Any, path: Path) -> Tokenizer:
    from tokenizers import Tokenizer, models

    normal = {piece.piece: piece.score for piece in proto.pieces if piece.type == NORMAL}
    best, worst = max(normal.values()), min(normal.values())
    vocabulary: list[tuple[str, float]] = []
    for piece in proto.pieces:
        score = piece.score
        if piece.type == USER_DEFINED:
            score = len(piece.piece.encode()) * best - 0.1  # sentencepiece's own rule
            if score < worst:  # it would also change the penalty of the unknown piece
                raise _cannot(path, f"the symbol {piece.piece!r} is too long for a Unigram model")
        vocabulary.append((piece.piece, score))

    fallback = proto.trainer_spec.byte_fallback
    backend = Tokenizer(models.Unigram(vocabulary, proto.trainer_spec.unk_id, fallback))
    # `tokenizers` would find control, unknown and byte pieces in the text, so their spellings are cut in two,
    # at a place that no other piece crosses.
    usable = [piece.piece for piece in proto.pieces if piece.type in (NORMAL, USER_DEFINED)]
    joined = {name[at : at + 2] for name in usable for at in range(len(name) - 1)}
    hidden = [piece.piece for piece in proto.pieces if piece.type in (CONTROL, UNKNOWN, BYTE)]
    unknown = set() if fallback else set("".join(hidden)) - set(usable)
    backend.pre_tokenizer = _cut(_cut_anywhere(name, joined, unknown, path) for name in hidden)
    return backend


def _cut_anywhere(name: str, joined: set[str], unknown: set[str], path: Path) -> str:
    """A pattern for a place inside `name` that no piece crosses and no run of unknown characters does."""
    for cut in range(1, len(name)):
        if name[cut - 1 : cut + 1] not in joined and not set(name[cut - 1 : cut + 1]) <= unknown:
            return rf"(?<={re.escape(name[:cut])})(?={re.escape(name[cut:])})"
    raise _cannot(path, f"text that spells {name!r} would become that piece")


def _cut(patterns: Iterable[str]) -> Any:
    """Split the text around what the patterns match, be it nothing but a place between two characters."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex("|".join(patterns)), "isolated")


def _normalizer(proto: Any) -> Any:
    """sentencepiece's normalizer, step by step in its order."""
    from tokenizers import Regex, normalizers

    spec = proto.normalizer_spec
    space = SPACE if spec.escape_whitespaces else " "
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        logger.warning("This sentencepiece model normalizes: ids of stacked combining marks may not be its own.")
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(space))
    if spec.escape_whitespaces:
        steps.append(normalizers.Replace(" ", SPACE))
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(rf"{space}+\z"), ""))
    return normalizers.Sequence(steps) if steps else None


def _decoder(proto: Any) -> Any:
    from tokenizers import decoders

    spec = proto.normalizer_spec
    steps: list[Any] = [decoders.Replace(SPACE, " ")] if spec.escape_whitespaces else []
    steps += [decoders.ByteFallback(), decoders.Fuse()]
    if spec.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)


def _verify(backend: Tokenizer, processor: Any, proto: Any, path: Path) -> None:
    odd = [piece.piece for piece in proto.pieces if piece.type != NORMAL]
    texts = [*PROBES, *odd, *(f"a {name} b" for name in odd), *(f"x{name}{name} " for name in odd)]
    encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    for text, ids, encoding in zip(texts, processor.encode(texts), encodings, strict=True):
        # The same pieces in another order have the same score: rounding decides, see the limits above.
        tie = proto.trainer_spec.model_type == UNIGRAM and sorted(ids) == sorted(encoding.ids)
        if ids != encoding.ids and not tie:
            raise _cannot(path, f"the text {text!r} gives {encoding.ids} instead of {ids}")
