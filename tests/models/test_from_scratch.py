"""A Llama with random weights: the shape asked for, drawn from the seed alone, and no id without a row."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llama_experiments.errors import SettingError
from llama_experiments.models.base import quiet_transformers
from llama_experiments.models.from_scratch import FromScratch
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.base import Task
from tests.models.checkpoints import SENTIMENT, TASKS, TEXT, THREE, token_ids

SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "rope_theta": 5_000.0,
}
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@pytest.fixture
def group(tokenizer_folder: Path) -> FromScratch:
    return FromScratch(tokenizer=str(tokenizer_folder), **SHAPE)


def weights(group: FromScratch, task: Task, seed: int) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in group.load(task, seed).model.named_parameters()}


def test_the_shape_is_the_one_asked_for(group: FromScratch) -> None:
    model = group.load(TEXT, 0).model
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    layer = {
        "self_attn.q_proj": (48, 48), "self_attn.k_proj": (16, 48), "self_attn.v_proj": (16, 48),
        "self_attn.o_proj": (48, 48), "mlp.gate_proj": (80, 48), "mlp.up_proj": (80, 48), "mlp.down_proj": (48, 80),
        "input_layernorm": (48,), "post_attention_layernorm": (48,),
    }  # fmt: skip
    layers = {f"model.layers.{at}.{name}.weight": shape for at in range(3) for name, shape in layer.items()}
    assert shapes == {"model.embed_tokens.weight": (320, 48), "model.norm.weight": (48,), **layers}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    config = model.config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 0)
    assert (config.max_position_embeddings, group.positions()) == (96, 96)
    untied = dataclasses.replace(group, tie_word_embeddings=False).load(TEXT, 0).model
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight
    assert untied.config.tie_word_embeddings is False


def test_the_rotation_is_the_one_asked_for(group: FromScratch) -> None:
    """Frequencies are theta ** (-2i / head_dim) (Su et al. 2021)."""
    for theta in (5_000.0, 500_000.0):
        model = dataclasses.replace(group, rope_theta=theta).load(TEXT, 0).model
        expected = [theta ** (-2 * place / 8) for place in range(4)]
        torch.testing.assert_close(model.model.rotary_emb.inv_freq, torch.tensor(expected))


@every_task
def test_all_weights_are_fp32_fresh_and_a_function_of_the_seed(group: FromScratch, task: Task) -> None:
    loaded = group.load(task, 3)
    drawn = dict(loaded.model.named_parameters())
    assert sorted(loaded.fresh) == sorted(drawn)
    assert (loaded.left_over, loaded.name) == ([], "from scratch")
    assert {tensor.dtype for tensor in drawn.values()} == {torch.float32}
    torch.rand(7)  # what was drawn before does not matter
    same, other = weights(group, task, 3), weights(group, task, 4)
    assert all(torch.equal(drawn[name], same[name]) for name in drawn)
    matrices = [name for name, tensor in drawn.items() if tensor.ndim == 2]
    assert not any(torch.equal(drawn[name], other[name]) for name in matrices)


def test_the_spread_of_the_weights_is_a_setting(group: FromScratch) -> None:
    for spread in (0.02, 0.2):
        drawn = weights(dataclasses.replace(group, initializer_range=spread), TEXT, 0)
        matrices = torch.cat([tensor.flatten() for tensor in drawn.values() if tensor.ndim == 2])
        assert matrices.std().item() == pytest.approx(spread, rel=0.02)
        assert all(bool((tensor == 1).all()) for name, tensor in drawn.items() if name.endswith("norm.weight"))


def test_a_classifier_has_its_classes(group: FromScratch) -> None:
    model = group.load(THREE, 0).model
    assert model.score.weight.shape == (3, 48)
    assert model.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert group.load(SENTIMENT, 0).model(token_ids()[:1]).logits.shape == (1, 2)


def test_an_id_beyond_a_gap_has_its_row(tmp_path: Path, tokenizer_folder: Path) -> None:
    load_tokenizer(tokenizer_folder).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    written = json.loads(file.read_text())
    vocabulary = written["model"]["vocab"]
    last = max(vocabulary, key=lambda piece: vocabulary[piece])
    vocabulary[last] = 400
    file.write_text(json.dumps(written))
    model = FromScratch(tokenizer=str(tmp_path), **SHAPE).load(TEXT, 0).model
    assert load_tokenizer(tmp_path).get_vocab()[last] == 400
    assert model.get_input_embeddings().weight.shape[0] == 401
    assert model(torch.tensor([[1, 400]])).logits.shape == (1, 2, 401)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_a_setting(group: FromScratch, attention: Any) -> None:
    model = dataclasses.replace(group, attention=attention).load(TEXT, 0).model
    assert model.config._attn_implementation == attention
    torch.testing.assert_close(model(token_ids()).logits, group.load(TEXT, 0).model(token_ids()).logits)


@every_task
def test_plain_transformers_gives_the_same_logits(group: FromScratch, task: Task, tmp_path: Path) -> None:
    loaded = group.load(task, 0)
    with quiet_transformers():
        loaded.model.save_pretrained(tmp_path)
        plain = task.model_class().from_pretrained(tmp_path)
    ids = token_ids(rows=1)
    assert torch.equal(plain(ids).logits, loaded.model.eval()(ids).logits)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        (
            {"num_hidden_layers": -1, "intermediate_size": 0},
            "intermediate_size must be at least 1; num_hidden_layers",
        ),
        ({"max_position_embeddings": 0}, "max_position_embeddings must be at least 1"),
        (
            {"num_attention_heads": 5},
            r"num_attention_heads must divide hidden_size \(48\) into heads of an even size",
        ),
        ({"num_attention_heads": 16}, "into heads of an even size"),
        ({"num_key_value_heads": 4}, r"num_key_value_heads must divide num_attention_heads \(6\)"),
        ({"rope_theta": 0.0}, "rope_theta must be a positive number"),
        ({"rope_theta": float("nan")}, "rope_theta must be a positive number"),
        ({"initializer_range": 0.0}, "initializer_range must be above 0 and at most 1"),
        ({"initializer_range": float("nan")}, "initializer_range must be above 0"),
    ],
)
def test_a_shape_that_cannot_be(group: FromScratch, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        dataclasses.replace(group, **settings)


def test_a_folder_without_a_tokenizer(group: FromScratch, tmp_path: Path) -> None:
    assert group.problems() == []
    sentence = f"there is no tokenizer.json or tokenizer.model in {tmp_path}"
    assert dataclasses.replace(group, tokenizer=str(tmp_path)).problems() == [("tokenizer", sentence)]
