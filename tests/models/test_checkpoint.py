"""What is loaded is the checkpoint, bit for bit, whatever its shape, its types and the age of its config."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from llama_experiments.errors import UserError
from llama_experiments.models.attention import CHUNKED
from llama_experiments.models.base import cast_parameters, quiet_transformers
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.base import Task
from tests.conftest import SHARED, save_tiny_llama
from tests.models.checkpoints import (
    SENTIMENT,
    TASKS,
    TEXT,
    Tensors,
    change,
    differing,
    load,
    store,
    stored,
    token_ids,
)

STORIES = SHARED / "stories260K"
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)

SHAPES: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "one key head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "wide heads": {"head_dim": 24},
    "attention bias": {"attention_bias": True},
    "all biases": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    "more rows than tokens": {"vocab_size": 384},
    "pad is eos": {"pad_token_id": 2},
    "pad is -1": {"pad_token_id": -1},
}


def to(*types: torch.dtype) -> Callable[[Tensors], Tensors]:
    """Tensors in one type, or in several by turns."""
    turns = itertools.cycle(types)
    return lambda tensors: {name: tensor.to(next(turns)) for name, tensor in tensors.items()}


def of_the_trunk_alone(tensors: Tensors) -> Tensors:
    """As a bare LlamaModel is saved."""
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name != HEAD}


def with_biases(tensors: Tensors) -> Tensors:
    """Biases start at zero, where they would prove nothing."""
    return {name: torch.randn_like(tensor) if name.endswith("bias") else tensor for name, tensor in tensors.items()}


@every_task
@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_tensor_is_the_files(
    shape: str, files: int, task: Task, tmp_path: Path, tokenizer_folder: Path
) -> None:
    folder = save_tiny_llama(tmp_path, tokenizer_folder, **SHAPES[shape])
    tensors = with_biases(stored(folder))
    store(folder, tensors, files)
    model = load(folder, task).model
    assert differing(model, tensors) == (["score.weight"] if task is SENTIMENT else [])
    assert model.get_input_embeddings().weight.shape == tensors[EMBEDDINGS].shape  # never resized


@every_task
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("types", "loaded_as"),
    [
        ([torch.float32], torch.float32),
        ([torch.bfloat16], torch.bfloat16),
        ([torch.float16], torch.float16),
        ([torch.bfloat16, torch.float32], torch.float32),
        ([torch.bfloat16, torch.float16], torch.float32),
    ],
    ids=str,
)
def test_what_trains_is_fp32_and_exactly_what_was_stored(
    types: list[torch.dtype], loaded_as: torch.dtype, tied: bool, task: Task, tmp_path: Path, tokenizer_folder: Path
) -> None:
    folder = save_tiny_llama(tmp_path, tokenizer_folder, tie_word_embeddings=tied)
    tensors = to(*types)(stored(folder))
    store(folder, tensors)
    change(folder / "config.json", dtype="float16")  # says what it likes
    model = load(folder, task).model
    assert {parameter.dtype for parameter in model.parameters()} == {loaded_as}
    cast_parameters(model, None)
    assert differing(model, to(torch.float32)(tensors)) == (["score.weight"] if task is SENTIMENT else [])


def test_weights_without_metadata(tmp_path: Path, tokenizer_folder: Path) -> None:
    from safetensors.torch import save_file

    folder = save_tiny_llama(tmp_path, tokenizer_folder)
    tensors = stored(folder)
    save_file(tensors, folder / "model.safetensors")
    assert differing(load(folder, TEXT).model, tensors) == []


@pytest.mark.parametrize("files", [1, 2])
def test_a_trunk_saved_alone(files: int, tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_tiny_llama(tmp_path / "tied", tokenizer_folder)
    tensors = of_the_trunk_alone(stored(folder))
    assert "embed_tokens.weight" in tensors
    store(folder, tensors, files)
    change(folder / "config.json", architectures=["LlamaModel"])
    for task, fresh in ((SENTIMENT, ["score.weight"]), (TEXT, [])):
        loaded = load(folder, task)
        assert (loaded.fresh, loaded.left_over) == (fresh, [])
        assert differing(loaded.model, tensors) == fresh
    untied = save_tiny_llama(tmp_path / "untied", tokenizer_folder, tie_word_embeddings=False)
    store(untied, of_the_trunk_alone(stored(untied)), files)
    assert load(untied, SENTIMENT).fresh == ["score.weight"]
    with pytest.raises(UserError, match=r"did not come from .*: lm_head\.weight;"):
        load(untied, TEXT)


def test_a_tied_head_that_is_stored_as_well(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_tiny_llama(tmp_path / "model", tokenizer_folder)
    tensors = stored(folder)
    store(folder, tensors | {HEAD: tensors[EMBEDDINGS].clone()})
    assert load(folder, SENTIMENT).left_over == [HEAD]
    model = load(folder, TEXT).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert differing(model, tensors) == []


def test_a_stored_head_that_differs_is_not_tied(tmp_path: Path, tokenizer_folder: Path) -> None:
    """The config says it is; the tensors are what counts, and the saved config is put right."""
    folder = save_tiny_llama(tmp_path / "model", tokenizer_folder)
    tensors = stored(folder)
    tensors[HEAD] = 2 * tensors[EMBEDDINGS]
    store(folder, tensors)
    model = load(folder, TEXT).model
    assert differing(model, tensors) == []
    with quiet_transformers():
        model.save_pretrained(tmp_path / "saved")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["tie_word_embeddings"] is False
    assert torch.equal(again(token_ids()).logits, model(token_ids()).logits)


LLAMA_3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
OLD_CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # name: what the config of old says at its top, what the same is today
    "Llama 2": (
        {"rope_theta": 10000.0, "rope_scaling": None, "pretraining_tp": 1, "torch_dtype": "float16"},
        {"rope_type": "default", "rope_theta": 10000.0},
    ),
    "Llama 2, early": ({}, {"rope_type": "default", "rope_theta": 10000.0}),
    "Llama 3": ({"rope_theta": 500000.0, "rope_scaling": None}, {"rope_type": "default", "rope_theta": 500000.0}),
    "Llama 3.1": (
        {"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", **LLAMA_3}, "torch_dtype": "bfloat16"},
        {"rope_type": "llama3", "rope_theta": 500000.0, **LLAMA_3},
    ),
    "stretched": (
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    ),
}


@pytest.mark.parametrize("name", OLD_CONFIGS)
def test_a_config_of_older_days_means_what_it_meant(name: str, tmp_path: Path, tokenizer_folder: Path) -> None:
    old, today = OLD_CONFIGS[name]
    folder = save_tiny_llama(tmp_path / "model", tokenizer_folder, num_key_value_heads=4)
    known = json.loads((folder / "config.json").read_text())
    reference = LlamaForCausalLM(LlamaConfig(**(known | {"rope_parameters": today}))).eval()
    reference.load_state_dict(stored(folder), strict=False)
    reference.tie_weights()
    newer = ("rope_parameters", "dtype", "head_dim", "num_key_value_heads", "attention_bias", "mlp_bias")
    change(folder / "config.json", without=newer, **old)
    model = load(folder, TEXT).model
    assert torch.equal(model(token_ids()).logits, reference(token_ids()).logits)
    sentiment = load(folder, SENTIMENT).model.model(token_ids()).last_hidden_state
    assert torch.equal(sentiment, reference.model(token_ids()).last_hidden_state)
    with quiet_transformers():
        model.save_pretrained(tmp_path / "saved")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(token_ids()).logits, reference(token_ids()).logits)


def test_the_rotation_of_those_configs_matters(tmp_path: Path, tokenizer_folder: Path) -> None:
    """Else the test above could not fail."""
    folder = save_tiny_llama(tmp_path, tokenizer_folder)
    seen = []
    for _, today in OLD_CONFIGS.values():
        change(folder / "config.json", rope_parameters=today)
        seen.append(load(folder, TEXT).model(token_ids()).logits)
    assert torch.equal(seen[0], seen[1])
    for position, logits in enumerate(seen[2:], 1):
        assert all((logits - other).abs().max() > 0.01 for other in seen[1 : position + 1])


@every_task
def test_attention_is_a_setting_that_changes_no_number(task: Task, model_folder: Path) -> None:
    lengths = [40, 20, 3]
    batch = {
        "input_ids": token_ids(len(lengths)),
        "lengths": torch.tensor(lengths),
        "label": torch.tensor([0, 1, 1]),
    }
    outputs = {}
    for attention in ("auto", "sdpa", "eager"):
        model = load(model_folder, task, attention=attention).model
        ours = CHUNKED if not torch.cuda.is_available() else "sdpa"
        assert model.config._attn_implementation == (ours if attention == "auto" else attention)
        with torch.no_grad():
            outputs[attention] = task.output(model, batch).predictions["loss"]
    assert torch.equal(outputs["auto"], outputs["sdpa"])  # rows as short as these are left to torch's kernel
    # In nats over up to 39 tokens; and not by being the same code.
    torch.testing.assert_close(outputs["eager"], outputs["sdpa"], atol=1e-4, rtol=1e-5)
    assert not torch.equal(outputs["eager"], outputs["sdpa"])


def test_what_a_local_checkpoint_tells_before_it_is_loaded(model_folder: Path, tmp_path: Path) -> None:
    model = Checkpoint(checkpoint=str(model_folder))
    assert (model.problems(), model.positions(), model.needs_hub, model.hub_name) == ([], 64, False, None)
    missing = Checkpoint(checkpoint=str(tmp_path / "nothing"), attention="flash_attention_2")
    assert [setting for setting, _ in missing.problems()] == ["attention", "checkpoint"]
    assert missing.positions() is None


@pytest.mark.parametrize("name", ["meta-llama/Llama-2-7b-hf", "a/b.c"])
def test_names_of_the_hub(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Checkpoint(checkpoint=name)
    assert (model.problems(), model.positions(), model.needs_hub, model.hub_name) == ([], None, True, name)
    (tmp_path / name).mkdir(parents=True)  # a folder of that very name comes first
    assert not model.needs_hub


@pytest.mark.skipif(not STORIES.is_dir(), reason="no real trained Llama here")
def test_a_real_trained_llama() -> None:
    tensors = stored(STORIES)
    text, sentiment = load(STORIES, TEXT, attention="sdpa"), load(STORIES, SENTIMENT, attention="sdpa")
    assert differing(text.model, tensors) == []
    assert differing(sentiment.model, tensors) == ["score.weight"]
    with quiet_transformers():
        plain = AutoModelForCausalLM.from_pretrained(STORIES)
        heads = AutoModelForSequenceClassification.from_pretrained(STORIES)
    ids = token_ids(words=512, length=200)
    assert torch.equal(text.model(ids).logits, plain(ids).logits)
    assert torch.equal(sentiment.model.model(ids).last_hidden_state, heads.model(ids).last_hidden_state)
    ours = load(STORIES, TEXT).model(ids).logits
    torch.testing.assert_close(ours, plain(ids).logits, atol=1e-4, rtol=1e-5)
    tokenizer = text.tokenizer
    assert (tokenizer.padding_side, tokenizer.pad_token_id) == ("right", 0)
    assert text.model.config.pad_token_id not in (tokenizer.eos_token_id, tokenizer.bos_token_id, None)
