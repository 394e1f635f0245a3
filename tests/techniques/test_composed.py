"""Techniques one after another: what is left open, at which rates, and what is saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.config import build
from llama_experiments.errors import ConfigError, SettingError
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.techniques.base import Technique
from llama_experiments.techniques.composed import Composed
from llama_experiments.techniques.freezing import Freeze
from llama_experiments.techniques.learning_rate import LearningRate
from llama_experiments.techniques.lora import LoRA
from llama_experiments.techniques.prompting import Prompt

CLASSES = SequenceClassification(labels=["a", "b"], max_length=32)


def rates(technique: Technique, folder: Path) -> dict[str, float]:
    """The multiplier of each parameter that moves."""
    model = technique.adapt_model(Checkpoint(checkpoint=str(folder)).load(CLASSES, seed=0).model, 0)
    groups = technique.parameter_groups(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(parameter)], group.multiplier) for group in groups for parameter in group.parameters]
    assert len(found) == len(dict(found))
    assert {name for name, _ in found} == {name for name, p in model.named_parameters() if p.requires_grad}
    return dict(found)


def test_decay_over_what_freezing_left_open(model_folder: Path) -> None:
    decay = LearningRate(layer_decay=0.5, head_multiplier=3.0)
    both = rates(Composed(parts={"freeze": Freeze(trainable_layers=2), "rates": decay}), model_folder)
    alone = rates(decay, model_folder)
    frozen = rates(Freeze(trainable_layers=2), model_folder)
    assert both == {name: alone[name] for name in frozen}
    assert both["model.layers.0.mlp.up_proj.weight"] == 0.5
    assert both["score.weight"] == 3.0


def test_multipliers_are_multiplied(model_folder: Path) -> None:
    one, other = LearningRate(layer_decay=0.5), LearningRate(layer_decay=0.8, head_multiplier=2.0)
    both = rates(Composed(parts={"one": one, "other": other}), model_folder)
    assert both["model.layers.0.mlp.up_proj.weight"] == pytest.approx(0.4)
    assert both["model.embed_tokens.weight"] == pytest.approx(0.16)
    assert both["score.weight"] == 2.0


@pytest.mark.parametrize("order", [("freeze", "lora"), ("lora", "freeze")])
def test_lora_above_frozen_layers(order: tuple[str, str], model_folder: Path) -> None:
    parts = {"freeze": Freeze(trainable_layers=1), "lora": LoRA()}
    moved = rates(Composed(parts={name: parts[name] for name in order}), model_folder)
    adapted = {name.partition(".lora_")[0] for name in moved if ".lora_" in name}
    assert adapted == {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}
    assert {name for name in moved if ".lora_" not in name} == {"score.modules_to_save.default.weight"}


def test_lora_is_saved_and_put_back_as_by_itself(model_folder: Path, tmp_path: Path) -> None:
    composed = Composed(parts={"lora": LoRA(), "rates": LearningRate(layer_decay=0.9)})
    assert composed.saved().keys() == {"adapter"}
    assert Composed(parts={"lora": LoRA(merge=True)}).saved().keys() == {"adapter", "model"}
    assert Composed(parts={"freeze": Freeze()}).saved() == Technique().saved()
    model = composed.adapt_model(Checkpoint(checkpoint=str(model_folder)).load(CLASSES, seed=0).model, 0)
    weight = model.model.layers[1].self_attn.v_proj.lora_B.default.weight
    weight.data += 1
    composed.saved()["adapter"](model, tmp_path / "adapter")
    weight.data += 1
    composed.restore(model, tmp_path)
    assert weight.unique().tolist() == [1.0]


def test_what_is_wrong_in_a_part_is_told_there() -> None:
    parts = {"freeze": Freeze(trainable_layers=9), "lora": LoRA(target_modules=["query"])}
    told = Composed(parts=parts).problems({"num_hidden_layers": 4})
    assert [setting for setting, _ in told] == ["parts.freeze.trainable_layers", "parts.lora.target_modules"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "must be one or more"),
        ({"ask": Prompt(), "lora": LoRA()}, "must be techniques that train, and ask does not"),
        ({"one": LoRA(), "two": LoRA()}, "must add new weights once at most, and one and two do"),
    ],
)
def test_what_does_not_make_sense_together(parts: dict[str, Technique], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Composed(parts=parts)


def test_parts_are_built_from_the_config_with_every_mistake_in_its_place() -> None:
    ours = "llama_experiments.techniques."
    freeze = {"_target_": f"{ours}freezing.Freeze", "trainable_layers": 2}
    tree = {"_target_": f"{ours}composed.Composed", "parts": {"freeze": freeze}}
    assert build(tree, Technique) == Composed(parts={"freeze": Freeze(trainable_layers=2)})
    wrong = {**tree, "parts": {"freeze": {**freeze, "trainable_layer": 1}, "lora": {"_target_": f"{ours}lora.Lora"}}}
    with pytest.raises(ConfigError) as raised:
        build(wrong, Technique, path="technique")
    paths = [mistake.path for mistake in raised.value.mistakes]
    assert paths == ["technique.parts.freeze.trainable_layer", "technique.parts.lora._target_"]
    with pytest.raises(ConfigError, match=r"technique.parts: must be a group of settings, not 3"):
        build({**tree, "parts": 3}, Technique, path="technique")
