"""Parts of the model by the names of its parameters, on every head and with adapters."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.lora import LoRA
from llama_experiments.techniques.parts import layer_of, number_of_layers, part_of, top_down
from tests.conftest import save_tiny_llama

CLASSES = SequenceClassification(labels=["a", "b"], max_length=32)
WRITING = TextGeneration(max_length=32)
ANSWERS = QuestionAnswering(max_length=32, stride=8)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.embed_tokens.weight", "embeddings"),
        ("transformer.embed_tokens.weight", "embeddings"),
        ("model.embed_tokens.lora_embedding_A.default", "embeddings"),
        ("model.layers.0.input_layernorm.weight", "layer 0"),
        ("transformer.layers.11.mlp.down_proj.weight", "layer 11"),
        ("layers.7.self_attn.q_proj.weight", "layer 7"),
        ("base_model.model.model.layers.31.self_attn.v_proj.lora_A.default.weight", "layer 31"),
        ("model.norm.weight", "final norm"),
        ("transformer.norm.weight", "final norm"),
        ("norm.weight", "final norm"),
        ("lm_head.weight", "head"),
        ("score.weight", "head"),
        ("score.modules_to_save.default.weight", "head"),
        ("qa_outputs.bias", "head"),
    ],
)
def test_the_part_of_a_parameter(name: str, part: str) -> None:
    assert part_of(name) == part
    assert layer_of(name) == (int(part.removeprefix("layer ")) if part.startswith("layer") else None)


@pytest.mark.parametrize(("task", "in_head"), [(CLASSES, 1), (ANSWERS, 2), (WRITING, 1)])
def test_every_parameter_of_a_model_has_its_part(
    task: Task, in_head: int, tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder = save_tiny_llama(tmp_path, tokenizer_folder, num_hidden_layers=3, tie_word_embeddings=False)
    model = Checkpoint(checkpoint=str(folder)).load(task, seed=0).model
    names = [name for name, _ in model.named_parameters()]
    layers = {"layer 0": 9, "layer 1": 9, "layer 2": 9}
    assert Counter(map(part_of, names)) == {"embeddings": 1, **layers, "final norm": 1, "head": in_head}
    assert number_of_layers(names) == 3


def test_an_adapters_parameter_is_in_the_part_it_adapts(model_folder: Path) -> None:
    model = Checkpoint(checkpoint=str(model_folder)).load(CLASSES, seed=0).model
    adapted = LoRA(target_modules="all-linear").adapt_model(model, 0)
    moving = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    # Two matrices beside each of a layer's seven, and the new head.
    assert Counter(map(part_of, moving)) == {"layer 0": 14, "layer 1": 14, "head": 1}
    assert number_of_layers(moving) == 2


def test_from_the_head_down_each_once_and_layers_by_number() -> None:
    parts = ["layer 2", "embeddings", "layer 10", "head", "layer 0", "final norm", "layer 2", "layer 9"]
    expected = ["head", "final norm", "layer 10", "layer 9", "layer 2", "layer 0", "embeddings"]
    assert top_down(parts) == expected
    assert top_down(["layer 1", "layer 3"]) == ["layer 3", "layer 1"]
    assert top_down([]) == []


def test_a_model_without_layers_has_none() -> None:
    assert number_of_layers(["model.embed_tokens.weight", "score.weight"]) == 0
