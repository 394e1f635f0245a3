"""Model folders as people have them: each works, or is refused in a sentence before anything slow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llama_experiments.errors import UserError
from llama_experiments.models.base import quiet_transformers
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.checkpoint_files import INDEX
from tests.conftest import save_tiny_llama
from tests.models.checkpoints import SENTIMENT, TEXT, as_a_run_saves, change, differing, load, stored, token_ids

JUNK = b"not what its name says"


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Llama to change."""
    return Path(shutil.copytree(model_folder, tmp_path / "llama"))


def adapter_alone(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").unlink()
    change(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="meta-llama/Llama-2-7b-hf")


def adapter_beside(folder: Path) -> None:
    change(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="meta-llama/Llama-2-7b-hf")


def original_format(folder: Path) -> None:
    (folder / "config.json").rename(folder / "params.json")
    (folder / "model.safetensors").rename(folder / "consolidated.00.pth")


def quantized(**settings: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "config.json", **settings)


def one_level_down(*parts: str) -> Callable[[Path], None]:
    def move(folder: Path) -> None:
        beside = folder.with_name("moved")
        folder.rename(beside)
        folder.joinpath(*parts[:-1]).mkdir(parents=True)
        beside.rename(folder.joinpath(*parts))

    return move


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (adapter_alone, "it holds an adapter (LoRA), which is no model of its own; merge it into its base model"),
        (adapter_beside, "llama holds an adapter beside a model (adapter_config.json): merge it, or take its"),
        (original_format, "it is in Meta's own format; convert it with"),
        (quantized(quantization_config={"quant_method": "gptq", "bits": 4}), "quantized weights (gptq); fine-tuning"),
        (quantized(quantization_config={"quant_method": "fp8"}), "llama holds quantized weights (fp8)"),
        (quantized(quantization_config={"load_in_4bit": True}), "llama holds quantized weights; fine-tuning starts"),
        (quantized(compression_config={"format": "int"}), "llama holds quantized weights"),
        (one_level_down("checkpoint-500"), "in Hugging Face format; did you mean {folder}/checkpoint-500?"),
        (one_level_down("snapshots", "0a1b"), "did you mean {folder}/snapshots/0a1b?"),  # the Hub's cache
    ],
)
def test_what_is_no_model_to_fine_tune_is_told_before_anything_slow(
    edit: Callable[[Path], None], words: str, folder: Path
) -> None:
    edit(folder)
    model = Checkpoint(checkpoint=str(folder))
    ((setting, sentence),) = model.problems()
    assert setting == "checkpoint"
    assert words.format(folder=folder) in sentence
    with pytest.raises(UserError) as caught:
        model.load(SENTIMENT, 0)
    assert str(caught.value) == f"model.checkpoint: {sentence}"
    assert model.positions() is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rope_parameters": {"rope_type": "mystery", "rope_theta": 1e4}}, "config.json: unknown 'mystery'"),
        ({"hidden_act": "mystery"}, "config.json: unknown"),
        ({"rope_parameters": 3}, "rope_parameters"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
    ],
)
def test_what_transformers_cannot_build_is_one_sentence(settings: dict[str, Any], words: str, folder: Path) -> None:
    change(folder / "config.json", **settings)
    with pytest.raises(UserError, match="cannot be loaded: ") as caught:
        load(folder, TEXT)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_a_training_change_nothing(folder: Path, model_folder: Path) -> None:
    for name in ("training_args.bin", "pytorch_model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(JUNK)
    for name in ("trainer_state.json", "pytorch_model.bin.index.json", "all_results.json", "tf_model.h5"):
        (folder / name).write_bytes(JUNK)
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "remote.LlamaForCausalLM"}, use_cache=False)
    (folder / "remote.py").write_text("raise SystemExit('code of a stranger')\n")
    assert differing(load(folder, TEXT).model, stored(model_folder)) == []


def test_beside_a_whole_file_an_index_is_left_alone(folder: Path, model_folder: Path) -> None:
    """As transformers has it; here the index is of another model, whose files are not all there."""
    change(folder / INDEX, weight_map={"model.norm.weight": "model-00001-of-00002.safetensors"}, metadata={})
    (folder / "model-00001-of-00002.safetensors").write_bytes(JUNK)
    assert Checkpoint(checkpoint=str(folder)).problems() == []
    loaded = load(folder, TEXT)
    assert differing(loaded.model, stored(model_folder)) == []
    with quiet_transformers():
        plain = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(plain(token_ids()).logits, loaded.model(token_ids()).logits)


def test_all_the_tokenizer_files_of_old(folder: Path, tokenizer_folder: Path, model_folder: Path) -> None:
    """`tokenizer.json` is what counts; the older files beside it say the same in other words."""
    texts = ["the film was lovely", "a  </s> <pad> b", "<unk>\n"]
    plain = load(model_folder, TEXT).tokenizer
    shutil.copy(tokenizer_folder / "tokenizer.model", folder)
    change(folder / "added_tokens.json", **{"</s>": 2, "<s>": 1})
    names = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "unk_token": "<unk>"}
    change(folder / "special_tokens_map.json", **names, pad_token="</s>")
    token = {"lstrip": False, "rstrip": False, "normalized": True, "single_word": False, "special": True}
    decoder = {str(index): token | {"content": name} for index, name in enumerate(("<unk>", "<s>", "</s>"))}
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "add_eos_token": False}
    change(folder / "tokenizer_config.json", added_tokens_decoder=decoder, pad_token="</s>", **settings)
    loaded = load(folder, SENTIMENT)
    assert loaded.tokenizer(texts)["input_ids"] == plain(texts)["input_ids"]
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id == 0  # not eos, which the files name
    again = AutoTokenizer.from_pretrained(as_a_run_saves(loaded, folder / "run"))
    assert (again.pad_token, again.pad_token_id, len(again)) == ("<unk>", 0, 320)  # and no '▁<unk>' beside

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    loaded = load(folder, SENTIMENT)
    assert loaded.tokenizer(texts)["input_ids"] == plain(texts)["input_ids"]
    assert loaded.tokenizer.eos_token_id == 2


@pytest.mark.parametrize(
    "generation",
    [
        {"temperature": 0.9, "top_p": 0.6, "do_sample": False},  # as Llama 2 had it for a while
        {"temperature": 0.9, "top_p": 0.6, "_from_model_config": True},
        {"typical_p": 0.5, "do_sample": False, "eos_token_id": [2, 5]},
    ],
)
def test_what_transformers_reads_but_would_not_write_can_be_saved(
    generation: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2} | generation))
    loaded = load(folder, TEXT)
    with quiet_transformers():
        loaded.model.save_pretrained(tmp_path / "saved")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.generation_config.eos_token_id == generation.get("eos_token_id", 2)
    assert again.generation_config.pad_token_id == 0
    ids = token_ids(rows=1, length=5)
    greedy = {"max_new_tokens": 4, "do_sample": False, "temperature": None, "top_p": None}
    assert torch.equal(again.generate(ids, **greedy), loaded.model.generate(ids, **greedy))


def test_a_sampling_generation_config_stays(folder: Path) -> None:
    settings = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "bos_token_id": 1, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    generation = load(folder, TEXT).model.generation_config
    assert {name: getattr(generation, name) for name in settings} == settings


@pytest.mark.parametrize("several", [[2, 3], [2, 319, 318]])
def test_none_of_several_eos_is_padded_with(several: list[int], tmp_path: Path, tokenizer_folder: Path) -> None:
    """A model for chats ends on more tokens than its tokenizer names."""
    from tokenizers import AddedToken

    folder = save_tiny_llama(tmp_path / "model", tokenizer_folder, vocab_size=323)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>", "<|reserved|>")])
    tokenizer.save_pretrained(folder)
    ends = [322 if token == 3 else token for token in several]
    change(folder / "generation_config.json", eos_token_id=ends)
    pad = load(folder, TEXT).model.config.pad_token_id
    assert pad not in (1, *ends)
    assert pad == (0 if 322 in ends else 322)
