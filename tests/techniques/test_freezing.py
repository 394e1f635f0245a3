"""What moves under layer freezing, on each head."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.errors import SettingError, UserError
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.freezing import Freeze
from tests.conftest import save_tiny_llama

CLASSES = SequenceClassification(labels=["a", "b"], max_length=32)
WRITING = TextGeneration(max_length=32)
ANSWERS = QuestionAnswering(max_length=32, stride=8)
NORM = {"model.norm.weight"}


def moving(folder: Path, task: Task, technique: Freeze) -> set[str]:
    """The names of the parameters that the optimizer gets."""
    model = technique.adapt_model(Checkpoint(checkpoint=str(folder)).load(task, seed=0).model, 0)
    groups = {id(parameter) for group in technique.parameter_groups(model) for parameter in group.parameters}
    named = {name for name, parameter in model.named_parameters() if id(parameter) in groups}
    assert named == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return named


@pytest.mark.parametrize(
    ("task", "head"),
    [(CLASSES, {"score.weight"}), (ANSWERS, {"qa_outputs.weight", "qa_outputs.bias"}), (WRITING, {"lm_head.weight"})],
)
def test_by_default_the_head_alone(task: Task, head: set[str], model_folder: Path) -> None:
    """The tiny model's language-modelling head is tied to its embeddings: it gets a copy of its own."""
    assert moving(model_folder, task, Freeze()) == head


def test_an_untied_language_models_head_is_its_own(tokenizer_folder: Path, tmp_path: Path) -> None:
    untied = save_tiny_llama(tmp_path, tokenizer_folder, tie_word_embeddings=False)
    assert moving(untied, WRITING, Freeze()) == {"lm_head.weight"}


def test_the_last_layers_open_from_the_top_with_the_norm(model_folder: Path) -> None:
    last = moving(model_folder, CLASSES, Freeze(trainable_layers=1))
    assert last >= NORM | {"score.weight", "model.layers.1.mlp.up_proj.weight"}
    assert not any("layers.0." in name or "embed" in name for name in last)
    both = moving(model_folder, CLASSES, Freeze(trainable_layers=2))
    assert both > last
    assert not any("embed" in name for name in both)


def test_patterns_open_what_they_name(model_folder: Path) -> None:
    opened = moving(model_folder, CLASSES, Freeze(patterns=["model.layers.*.input_layernorm.*", "*embed*"]))
    norms = {f"model.layers.{layer}.input_layernorm.weight" for layer in (0, 1)}
    assert opened == {"score.weight", "model.embed_tokens.weight"} | norms


@pytest.mark.parametrize(
    ("technique", "words"),
    [
        (Freeze(patterns=["nothing.*"]), "technique.patterns: 'nothing.\\*' matches no parameter"),
        (Freeze(trainable_layers=3), "technique.trainable_layers: 3 are more than the model's 2 layers"),
    ],
)
def test_what_is_not_there_cannot_be_opened(technique: Freeze, words: str, model_folder: Path) -> None:
    with pytest.raises(UserError, match=words):
        moving(model_folder, CLASSES, technique)


def test_a_number_of_layers_is_not_negative() -> None:
    with pytest.raises(SettingError, match="trainable_layers"):
        Freeze(trainable_layers=-1)
