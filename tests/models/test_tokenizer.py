"""Tokenizers: the ids are sentencepiece's or the file's own, and no text spells a special token."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from llama_experiments.errors import UserError
from llama_experiments.models.sentencepiece_conversion import PROBES, convert
from llama_experiments.models.tokenizer import load_tokenizer, unused_token_id

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LLAMA_2 = SHARED / "llama2_tokenizer"
STORIES = SHARED / "stories260K"
needs_llama_2 = pytest.mark.skipif(not LLAMA_2.is_dir(), reason="no real Llama 2 tokenizer here")
needs_stories = pytest.mark.skipif(not STORIES.is_dir(), reason="no real trained Llama here")

CORPUS = [
    f"{who} {what} {number} {thing}, and then {who} said: it's <b>{thing}</b>!  Don't {what} it_{number}..."
    for who in ("The old man", "A girl", "Zoë", "my naïve café friend", "日本の 人")
    for what in ("was seeing", "walked to", "has eaten", "wanted", "thinks about")
    for thing in ("houses", "the longest river", "bread & butter", "its (own) shadow", "wonderful 東京")
    for number in (1, 27, 1999)
]
IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
KINDS: dict[str, dict[str, Any]] = {
    "bpe": {"model_type": "bpe", "byte_fallback": True, "allow_whitespace_only_pieces": True, **IDENTITY},
    "bpe-nmt": {"model_type": "bpe"},
    "bpe-no-prefix": {"model_type": "bpe", "add_dummy_prefix": False, **IDENTITY},
    "bpe-symbols": {
        "model_type": "bpe",
        "byte_fallback": True,
        "user_defined_symbols": ["<sep>", "<cls>", "aaa"],
        **IDENTITY,
    },
    "bpe-control": {"model_type": "bpe", "control_symbols": ["<sep>"], "bos_id": -1, "pad_id": 3},
    "unigram": {"model_type": "unigram", "byte_fallback": True, **IDENTITY},
    "unigram-nmt": {"model_type": "unigram"},
}
ATOMS = (
    *(
        " ",
        "  ",
        "   ",
        " " * 9,
        "\n",
        "\t",
        "\r\n",
        "a",
        "b",
        "The",
        "man",
        " was",
        "ing",
        " the ",
        "12",
        "999",
        ".",
    ),
    *(
        "'s",
        "é",
        "e\u0301",
        "日本",
        "東",
        "한",
        "🙂",
        "🇫🇷",
        "<s>",
        "</s>",
        "<unk>",
        "<0x0A>",
        "<pad>",
        "<sep>",
    ),
    *(
        "<cls>",
        "aaa",
        "▁",
        "\u200b",
        "\u00a0",
        "\x00",
        "ﬁ",
        "½",
        "Ж",
        "नि",
        "--",
        "()",
        "<",
        ">",
        "/",
        "\ufeff",
    ),
)


def random_texts(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [
        "".join(chance.choice(ATOMS) for _ in range(chance.randint(0, 25)))
        if chance.random() < 0.8
        else "".join(chr(chance.choice([chance.randint(32, 126), chance.randint(0x370, 0x9FFF)])) for _ in range(20))
        for _ in range(count)
    ]


TEXTS = [*PROBES, *random_texts(400, seed=1)]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a little sentencepiece model of a kind, trained once."""
    root = tmp_path_factory.mktemp("sentencepiece")

    def folder(kind: str) -> Path:
        place = root / kind
        if not place.is_dir():
            place.mkdir()
            SentencePieceTrainer.train(
                sentence_iterator=iter(CORPUS),
                model_prefix=str(place / "tokenizer"),
                vocab_size=500,
                hard_vocab_limit=False,
                minloglevel=2,
                **KINDS[kind],
            )
        return place

    return folder


def ids_of(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """By the tokenizer and by its backend, which have to agree."""
    ids: list[list[int]] = tokenizer(texts)["input_ids"]
    assert [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts)] == ids
    return ids


def differing(folder: Path, texts: list[str], ties: bool = False) -> list[str]:
    """The texts whose ids are not sentencepiece's; with `ties`, the same ids in another order will do."""
    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    backend, roles = convert(folder / "tokenizer.model")
    bos = [processor.bos_id()] if "bos_token" in roles else []
    order: Callable[[list[int]], list[int]] = sorted if ties else list
    return [
        text
        for text, encoding, ids in zip(texts, backend.encode_batch_fast(texts), processor.encode(texts), strict=True)
        if order(encoding.ids) != order([*bos, *ids])
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_sentencepiece(trained: Callable[[str], Path], kind: str) -> None:
    assert differing(trained(kind), TEXTS, ties=kind.startswith("unigram")) == []


@pytest.mark.parametrize(("kind", "warnings"), [("bpe", 0), ("bpe-nmt", 1)])
def test_a_normalization_table_is_warned_of(
    trained: Callable[[str], Path], caplog: pytest.LogCaptureFixture, kind: str, warnings: int
) -> None:
    load_tokenizer(trained(kind))
    assert sum("combining marks" in record.message for record in caplog.records) == warnings


@needs_llama_2
def test_ids_of_llama_2_are_those_of_sentencepiece() -> None:
    assert differing(LLAMA_2, [*PROBES, *random_texts(1000, seed=2)]) == []
    tokenizer = load_tokenizer(LLAMA_2)
    assert len(tokenizer) == 32000
    assert tokenizer("a </s> b")["input_ids"] == [1, 263, 1533, 29879, 29958, 289]
    assert tokenizer("  Hello\n")["input_ids"] == [1, 259, 15043, 13]
    assert tokenizer.decode(tokenizer("  Hello\n")["input_ids"], skip_special_tokens=True) == "  Hello\n"


@needs_stories
def test_both_files_of_a_real_model_agree_on_tidy_text(tmp_path: Path) -> None:
    shutil.copy(STORIES / "tokenizer.model", tmp_path)
    tidy = ["Once upon a time, there was a little girl.", "a", "", "naïve\nline", "x 🙂 y", "1999 </s> <s>"]
    assert ids_of(load_tokenizer(STORIES), tidy) == ids_of(load_tokenizer(tmp_path), tidy)


@needs_stories
def test_a_tokenizer_json_is_used_as_written() -> None:
    tokenizer = load_tokenizer(STORIES)
    written = Tokenizer.from_file(str(STORIES / "tokenizer.json"))
    written.encode_special_tokens = True
    assert ids_of(tokenizer, TEXTS) == [encoding.ids for encoding in written.encode_batch_fast(TEXTS)]
    assert type(tokenizer).__name__ == "LlamaTokenizer"
    assert tokenizer.model_max_length == 512


@pytest.mark.parametrize("kind", ["bpe", "bpe-nmt", "bpe-symbols", "bpe-control", "unigram"])
@pytest.mark.parametrize("with_config", [False, True])
def test_ids_survive_saving_and_plain_loading(
    trained: Callable[[str], Path], tmp_path: Path, kind: str, with_config: bool
) -> None:
    tokenizer = load_tokenizer(trained(kind))
    tokenizer.save_pretrained(tmp_path)
    if with_config:  # its model type makes AutoTokenizer look for a LlamaTokenizer
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert ids_of(plain, TEXTS) == ids_of(tokenizer, TEXTS)
    assert [
        e.ids for e in AutoTokenizer.from_pretrained(tmp_path).backend_tokenizer.encode_batch_fast(TEXTS)
    ] == ids_of(tokenizer, TEXTS)
    assert ids_of(load_tokenizer(tmp_path), TEXTS) == ids_of(tokenizer, TEXTS)
    assert plain.special_tokens_map == tokenizer.special_tokens_map
    assert (plain.padding_side, plain.model_input_names) == ("right", ["input_ids", "attention_mask"])


def test_spelled_special_tokens_are_text(trained: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(trained("bpe"))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    assert tokenizer.pad_token is None
    for ids in ids_of(tokenizer, ["a </s> b", "<s></s><unk>", "<0x0A>", "\n"]):
        assert ids[0] == 1
        assert not {0, 1, 2} & set(ids[1:])
    assert len(tokenizer("<0x0A>")["input_ids"]) > len(tokenizer("\n")["input_ids"]) == 3


@pytest.mark.parametrize("kind", ["bpe", "bpe-symbols", "unigram"])
def test_decoding_gives_the_text_back(trained: Callable[[str], Path], kind: str) -> None:
    tokenizer = load_tokenizer(trained(kind))
    texts = [text for text in TEXTS if "▁" not in text]  # which sentencepiece itself decodes to a space
    assert tokenizer.batch_decode(ids_of(tokenizer, texts), skip_special_tokens=True) == texts


def test_ten_thousand_short_texts_take_seconds(trained: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(trained("bpe"))
    started = time.perf_counter()
    tokenizer.backend_tokenizer.encode_batch_fast([f"The old man walked to {n} houses" for n in range(10_000)])
    assert time.perf_counter() - started < 5


def byte_level(folder: Path, **config: Any) -> Tokenizer:
    """A byte-level `tokenizer.json` as Llama 3 has one, with padding, truncation and an unmarked eos."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    backend.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>", "<|reserved_special_token_0|>"])
    backend.add_tokens([AddedToken("<|end_of_text|>", special=False)])
    bos = ("<|begin_of_text|>", backend.token_to_id("<|begin_of_text|>"))
    backend.post_processor = processors.TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    backend.enable_truncation(3)
    backend.enable_padding(length=8)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    backend.no_truncation()
    backend.no_padding()
    return backend


def test_a_byte_level_file_with_its_settings(tmp_path: Path) -> None:
    written = byte_level(
        tmp_path,
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        chat_template="{{ messages }}",
        padding_side="left",
    )
    tokenizer = load_tokenizer(tmp_path)
    assert ids_of(tokenizer, TEXTS[:80]) == [encoding.ids for encoding in written.encode_batch_fast(TEXTS[:80])]
    assert tokenizer.eos_token_id not in tokenizer("a <|end_of_text|> b")["input_ids"]
    assert tokenizer.chat_template == "{{ messages }}"
    assert (tokenizer.padding_side, tokenizer.backend_tokenizer.padding) == ("right", None)
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.pad_token is None
    tokenizer.save_pretrained(tmp_path / "saved")
    plain = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert ids_of(plain, [*TEXTS, "<|end_of_text|>"]) == ids_of(tokenizer, [*TEXTS, "<|end_of_text|>"])


def test_a_class_that_would_rebuild_the_backend_is_not_used(trained: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(trained("bpe"))
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ 1 }}", "split_special_tokens": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load_tokenizer(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("  a")["input_ids"] != tokenizer("  a")["input_ids"]
    assert ids_of(loaded, TEXTS) == ids_of(tokenizer, TEXTS)
    assert (loaded.eos_token, loaded.chat_template) == ("</s>", "{{ 1 }}")


def test_settings_beside_a_sentencepiece_model_are_honoured(trained: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copy(trained("bpe") / "tokenizer.model", tmp_path)
    settings = {"model_max_length": 77, "pad_token": {"content": "[PAD]"}, "chat_template": "{{ 2 }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path)
    size = len(load_tokenizer(trained("bpe")))
    assert (tokenizer.model_max_length, tokenizer.chat_template) == (77, "{{ 2 }}")
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("[PAD]", size)
    assert unused_token_id(tokenizer, size + 1) == size
    assert unused_token_id(tokenizer, size) == 0


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        (None, b"", "has no tokenizer: neither"),
        ("tokenizer.json", b"{", "is not valid JSON"),
        ("tokenizer.json", b"\xff\xfe", "is not valid JSON"),
        ("tokenizer.json", b'{"model": 1}', "is not a tokenizer"),
        ("tokenizer.model", b"", "is not a sentencepiece model"),
        ("tokenizer.model", b"IQ== 0\nIg== 1\n", "is not a sentencepiece model"),
    ],
)
def test_a_folder_without_a_tokenizer_is_told(
    tmp_path: Path, file: str | None, content: bytes, sentence: str
) -> None:
    if file:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_chat_template_can_still_write_special_tokens(trained: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(trained("bpe"))
    tokenizer.chat_template = "{{ messages[0]['content'] }}</s>"
    chat = [{"role": "user", "content": "a man"}]
    ids = tokenizer.apply_chat_template(chat, return_dict=True, tokenizer_kwargs={"split_special_tokens": False})
    assert ids["input_ids"][-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in tokenizer("a man</s>")["input_ids"]


def test_a_model_that_cannot_be_reproduced_is_refused(trained: Callable[[str], Path], tmp_path: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString((trained("bpe") / "tokenizer.model").read_bytes())
    proto.pieces[-1].type = 5  # unused
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match="without unused pieces"):
        load_tokenizer(tmp_path)


def test_ids_to_pad_with(trained: Callable[[str], Path], tmp_path: Path) -> None:
    # The model's own pad; <unk> where bytes stand in for it; else a row that no token has; else none.
    control = load_tokenizer(trained("bpe-control"))
    assert unused_token_id(control, len(control)) == 3 == control.pad_token_id
    assert unused_token_id(load_tokenizer(trained("bpe")), 500) == 0
    plain = load_tokenizer(trained("bpe-no-prefix"))
    assert unused_token_id(plain, len(plain)) is None
    assert unused_token_id(plain, len(plain) + 4) == len(plain)

    # A reserved token rather than one used in chats, and never a row the model does not have.
    backend = byte_level(tmp_path, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")
    tokenizer = load_tokenizer(tmp_path)
    assert unused_token_id(tokenizer, len(tokenizer)) == backend.token_to_id("<|reserved_special_token_0|>") == 402
    assert unused_token_id(tokenizer, 402) == 401
    assert unused_token_id(tokenizer, 401) is None
    tokenizer.pad_token = "<|end_of_text|>"
    assert unused_token_id(tokenizer, len(tokenizer)) == 402


def test_importing_the_module_loads_no_library() -> None:
    libraries = {"transformers", "tokenizers", "sentencepiece", "torch"}
    check = f"import sys, llama_experiments.models.tokenizer; print({libraries} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
