"""What every model group shares: types, the pad token, the attention setting, silence while loading."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from llama_experiments.cli import main
from llama_experiments.errors import UserError
from llama_experiments.models.base import cast_parameters, check_length, quiet_transformers
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.from_scratch import FromScratch
from llama_experiments.tasks.text_generation import TextGeneration
from tests.conftest import save_tiny_llama, sentences
from tests.models.checkpoints import SENTIMENT, TEXT, as_a_run_saves, differing, load, store, stored, token_ids

FLASH = "flash_attention_2"


def words(folder: Path, *special: str, **names: str) -> Path:
    """A tokenizer of whole words: what it does not know is `<unk>`, so that this is a real token."""
    backend = Tokenizer(models.WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", "<s>", "</s>", *special])
    backend.train_from_iterator([text for text, _ in sentences(40)], trainer)
    roles = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"} | names
    PreTrainedTokenizerFast(tokenizer_object=backend, **roles).save_pretrained(folder)
    return folder


def saved(folder: Path, into: Path) -> tuple[Any, Any]:
    """A checkpoint as a run saves it, in plain transformers."""
    run = as_a_run_saves(load(folder, SENTIMENT), into)
    with quiet_transformers():
        return AutoModelForSequenceClassification.from_pretrained(run), AutoTokenizer.from_pretrained(run)


def test_trainable_tensors_become_fp32_and_frozen_ones_what_is_asked(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_tiny_llama(tmp_path, tokenizer_folder)
    store(folder, {name: tensor.bfloat16() for name, tensor in stored(folder).items()})
    for frozen, expected in ((None, torch.bfloat16), (torch.float16, torch.float16), (torch.float32, torch.float32)):
        model = load(folder, SENTIMENT).model
        model.model.requires_grad_(False)
        trained = id(model.score.weight)
        cast_parameters(model, frozen)
        assert {parameter.dtype for parameter in model.model.parameters()} == {expected}
        assert model.score.weight.dtype == torch.float32
        assert id(model.score.weight) == trained  # the parameters stay the objects they were, so that ties hold


def test_ties_survive_the_cast(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_tiny_llama(tmp_path, tokenizer_folder)
    store(folder, {name: tensor.half() for name, tensor in stored(folder).items()})
    model = load(folder, TEXT).model
    cast_parameters(model, None)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.weight.dtype == torch.float32


@pytest.mark.parametrize("frozen", ["embed_tokens", "layers", ""])
def test_beside_frozen_bf16_what_was_trained_is_saved_exactly(
    frozen: str, tmp_path: Path, tokenizer_folder: Path
) -> None:
    folder = save_tiny_llama(tmp_path / "model", tokenizer_folder)
    store(folder, {name: tensor.bfloat16() for name, tensor in stored(folder).items()})
    loaded = load(folder, SENTIMENT)
    loaded.model.model.get_submodule(frozen).requires_grad_(False)
    cast_parameters(loaded.model, None)
    trained = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter += 1e-4 * torch.randn_like(parameter)  # less than bf16 can tell
    run = as_a_run_saves(loaded, tmp_path / "run")
    with quiet_transformers():
        plain = AutoModelForSequenceClassification.from_pretrained(run)
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(plain.get_parameter(name), parameter.float())
    assert differing(load(run, SENTIMENT).model, {k: tensor.float() for k, tensor in stored(run).items()}) == []


PADS: dict[str, tuple[Callable[[Path], Path], int, int | None]] = {
    # name: the tokenizer, rows of the embedding beyond its tokens, the place of the pad token among the ids
    "its own": (lambda folder: words(folder, "<pad>", pad_token="<pad>"), 0, 3),
    "its own is eos": (lambda folder: words(folder, "<spare_unused>", pad_token="</s>"), 0, 3),
    "its own is unk": (lambda folder: words(folder, "<spare_unused>", pad_token="<unk>"), 0, 3),
    "a row that no token has": (lambda folder: words(folder, pad_token="</s>"), 5, -1),
    "none": (words, 0, None),
    "none, and eos is no choice": (lambda folder: words(folder, pad_token="</s>"), 0, None),
}


@pytest.mark.parametrize("kind", PADS)
def test_the_pad_token_stands_for_nothing_else(kind: str, tmp_path: Path) -> None:
    make, spare, expected = PADS[kind]
    words_folder = make(tmp_path / "words")
    size = len(AutoTokenizer.from_pretrained(words_folder))
    folder = save_tiny_llama(tmp_path / "model", words_folder, vocab_size=size + spare)
    pad = size if expected == -1 else expected
    loaded = load(folder, SENTIMENT)
    assert loaded.model.config.pad_token_id == pad == loaded.tokenizer.pad_token_id
    assert loaded.model.get_input_embeddings().weight.shape[0] == size + spare
    texts = ["The film was lovely", "a b c </s> <unk> <pad> <spare_unused>", "lovely </s>"]
    real = loaded.tokenizer(texts)["input_ids"]
    assert not any(pad in ids for ids in real)

    model, tokenizer = saved(folder, tmp_path / "saved")
    assert tokenizer(texts)["input_ids"] == real
    assert (model.config.pad_token_id, tokenizer.pad_token_id) == (pad, pad)
    if pad is None:
        with pytest.raises(ValueError, match="padding token"):
            tokenizer(texts, padding=True)
        return
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    alone = torch.cat([loaded.model(torch.tensor([ids])).logits for ids in real])
    torch.testing.assert_close(model(**batch).logits, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pad", [2, 7, -1])
def test_no_row_goes_without_a_gradient(pad: int, tmp_path: Path, tokenizer_folder: Path) -> None:
    """transformers leaves the row of the pad token that a checkpoint names where it is, were it a real token's."""
    folder = save_tiny_llama(tmp_path, tokenizer_folder, pad_token_id=pad)
    model = load(folder, SENTIMENT).model
    ids = token_ids(rows=1)
    ids[0, :3] = torch.tensor([2, 7, 319])
    model(ids).logits.sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert all(gradient[token].abs().sum() > 0 for token in (2, 7, 319))
    assert gradient[0].abs().sum() == 0  # which does not occur


@pytest.mark.parametrize("group", [Checkpoint(checkpoint="a/b"), FromScratch(tokenizer="pkg://embedded/tokenizer")])
def test_flash_attention_is_refused_where_it_cannot_run(
    group: Checkpoint | FromScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dataclasses.replace(group, attention=FLASH)
    installed: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    missing = "flash_attention_2 needs the package flash-attn, which is not installed; use auto, sdpa or eager"
    assert asked.problems() == [("attention", missing)]
    for package in ("flash_attn", "kernels"):
        installed = {package}
        assert asked.problems() == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert asked.problems() == [
        ("attention", "flash_attention_2 needs a GPU, and there is none here; use auto, sdpa or eager")
    ]
    assert dataclasses.replace(group, attention="varlen").problems() == [
        ("attention", "varlen needs a GPU, and there is none here; use auto, sdpa or eager")
    ]
    assert all(dataclasses.replace(group, attention=other).problems() == [] for other in ("auto", "sdpa", "eager"))


def test_flash_attention_is_refused_on_the_command_line(
    local_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llama_experiments.models.base.attention_problem", lambda _: "cannot be had")
    before = set(tmp_path.rglob("*"))
    assert main([*local_run, f"model.attention={FLASH}", "training.precision=fp32"]) == 2
    place = "       (set on the command line)"
    assert capsys.readouterr().err.splitlines() == [
        f"model.attention: cannot be had{place}",
        f"model.attention: flash_attention_2 has no fp32, and training.precision is fp32{place}",
    ]
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("longest", "positions"), [(64, 64), (65, None)])
def test_rows_fit_the_positions(longest: int, positions: int | None) -> None:
    check_length(positions, TextGeneration(max_length=longest))
    check_length(100, TextGeneration(max_length=longest))
    with pytest.raises(
        UserError, match=rf"task\.max_length: {longest} tokens are more than the model's 63 positions"
    ):
        check_length(63, TextGeneration(max_length=longest))


def test_transformers_is_silent_only_while_asked_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("transformers")
    before = (logger.level, transformers.utils.logging.is_progress_bar_enabled())
    with contextlib.suppress(KeyError), quiet_transformers():
        assert not logger.isEnabledFor(logging.WARNING)
        assert not transformers.utils.logging.is_progress_bar_enabled()
        print("a report")
        raise KeyError
    assert (logger.level, transformers.utils.logging.is_progress_bar_enabled()) == before
    assert capsys.readouterr().out == ""
