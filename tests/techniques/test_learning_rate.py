"""The rate of every layer, on each head, and what the optimizer makes of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llama_experiments.command_line.composition import compose_command
from llama_experiments.config import build
from llama_experiments.errors import SettingError
from llama_experiments.experiment import Experiment
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.base import Technique
from llama_experiments.techniques.learning_rate import LearningRate
from llama_experiments.training.optimization import make_optimizer, set_rates
from llama_experiments.training.settings import Training
from tests.conftest import save_tiny_llama

CLASSES = SequenceClassification(labels=["a", "b"], max_length=32)
WRITING = TextGeneration(max_length=32)
ANSWERS = QuestionAnswering(max_length=32, stride=8)
LAYERS = 4
HALVES = LearningRate(layer_decay=0.5, head_multiplier=3.0)
# Of the trunk, under HALVES: the top layer and the norm at the full rate, the embeddings below the lowest layer.
TRUNK = {"norm": 1.0, "layers.3": 1.0, "layers.2": 0.5, "layers.1": 0.25, "layers.0": 0.125, "embed_tokens": 0.0625}


@pytest.fixture(scope="module")
def tied(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers, the output matrix tied to the embeddings."""
    return save_tiny_llama(tmp_path_factory.mktemp("tied"), tokenizer_folder, num_hidden_layers=LAYERS)


@pytest.fixture(scope="module")
def untied(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers, and an output matrix of its own."""
    folder = tmp_path_factory.mktemp("untied")
    return save_tiny_llama(folder, tokenizer_folder, num_hidden_layers=LAYERS, tie_word_embeddings=False)


def loaded(folder: Path, task: Task) -> PreTrainedModel:
    return Checkpoint(checkpoint=str(folder)).load(task, seed=0).model


def rates(technique: Technique, model: PreTrainedModel) -> dict[str, float]:
    """The multiplier of each parameter that moves; none is in two groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = technique.parameter_groups(model)
    found = [(names[id(parameter)], group.multiplier) for group in groups for parameter in group.parameters]
    assert len(found) == len(dict(found))
    return dict(found)


def by_hand(names: set[str], trunk: str, head: float) -> dict[str, float]:
    """What these parameters' multipliers are under HALVES: the trunk's by its table, any other's the head's."""
    return {
        name: next((rate for part, rate in TRUNK.items() if name.startswith(f"{trunk}.{part}.")), head)
        for name in names
    }


@pytest.mark.parametrize(
    ("task", "trunk", "head"),
    [
        (CLASSES, "model", {"score.weight"}),
        (ANSWERS, "transformer", {"qa_outputs.weight", "qa_outputs.bias"}),
        (WRITING, "model", {"lm_head.weight"}),
    ],
)
def test_each_layer_by_the_layer_above(task: Task, trunk: str, head: set[str], untied: Path) -> None:
    model = loaded(untied, task)
    names = {name for name, _ in model.named_parameters()}
    found = rates(HALVES, model)
    assert found == by_hand(names, trunk, head=3.0)
    assert {name for name, rate in found.items() if rate == 3.0} == head
    assert found[f"{trunk}.layers.1.mlp.up_proj.weight"] == 0.25
    assert found[f"{trunk}.layers.2.self_attn.q_proj.weight"] == 0.5
    assert found[f"{trunk}.embed_tokens.weight"] == 0.0625


def test_a_tied_head_is_the_embeddings_and_as_slow(tied: Path) -> None:
    model = loaded(tied, WRITING)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    found = rates(HALVES, model)
    assert found["model.embed_tokens.weight"] == 0.0625
    assert "lm_head.weight" not in found
    assert max(found.values()) == 1.0  # there is no head to multiply
    assert [group.name for group in HALVES.parameter_groups(model)][-1] == "embeddings"


def test_groups_are_the_models_parts_from_the_head_down(untied: Path) -> None:
    groups = HALVES.parameter_groups(loaded(untied, CLASSES))
    layers = ["layer 3", "layer 2", "layer 1", "layer 0"]
    assert [group.name for group in groups] == ["head", "final norm", *layers, "embeddings"]
    assert [group.multiplier for group in groups] == [3.0, 1.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
    assert [len(group.parameters) for group in groups] == [1, 1, 9, 9, 9, 9, 1]


def test_layers_above_frozen_ones_keep_the_rates_of_their_places(untied: Path) -> None:
    whole = rates(HALVES, loaded(untied, CLASSES))
    model = loaded(untied, CLASSES)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith(("model.embed_tokens", "model.layers.0.", "model.layers.1."))
    found = rates(HALVES, model)
    open_names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found == {name: whole[name] for name in open_names}
    assert found["model.layers.2.mlp.up_proj.weight"] == 0.5
    groups = [group.name for group in HALVES.parameter_groups(model)]
    assert groups == ["head", "final norm", "layer 3", "layer 2"]


def test_frozen_layers_above_do_not_lift_those_below(untied: Path) -> None:
    model = loaded(untied, CLASSES)
    for parameter in model.model.layers[3].parameters():
        parameter.requires_grad = False
    assert rates(HALVES, model)["model.layers.2.mlp.up_proj.weight"] == 0.5


def test_nothing_open_makes_no_group(tied: Path) -> None:
    assert HALVES.parameter_groups(loaded(tied, CLASSES).requires_grad_(False)) == []


def test_without_decay_and_multiplier_it_is_full_fine_tuning(tied: Path) -> None:
    model = loaded(tied, CLASSES)
    assert rates(LearningRate(), model) == rates(Technique(), model)


def test_the_optimizer_steps_at_these_rates(untied: Path) -> None:
    """Adam's first step is its rate in size, whatever the gradient is: what each layer moved by is its rate."""
    model = loaded(untied, CLASSES)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    training = Training(learning_rate=1e-2, weight_decay=0.0)
    optimizer = make_optimizer(HALVES.parameter_groups(model), training, torch.device("cpu"))
    assert set_rates(optimizer, 0.5) == pytest.approx(1.5e-2)  # the head's
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    expected = by_hand(set(before), "model", head=3.0)
    for name, parameter in model.named_parameters():
        step = (before[name] - parameter.detach()).max().item()
        assert step == pytest.approx(0.5e-2 * expected[name], rel=1e-2), name


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_a_decay_that_is_none(decay: float) -> None:
    with pytest.raises(SettingError, match=f"layer_decay must be above 0 and at most 1, not {decay:g}"):
        LearningRate(layer_decay=decay)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, math.nan, math.inf])
def test_a_multiplier_that_is_none(multiplier: float) -> None:
    with pytest.raises(SettingError, match=f"head_multiplier must be a positive number, not {multiplier:g}"):
        LearningRate(head_multiplier=multiplier)


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        ([], 2e-5),
        (["task=question_answering"], 2e-5),
        (["model=llama2_13b", "model.learning_rate=5e-4"], 2e-5),  # the preset's, not what suits the model
        (["training.learning_rate=1e-3"], 1e-3),
        (["stand_in=embedded"], 1e-3),
    ],
)
def test_the_gentle_preset(arguments: list[str], rate: float) -> None:
    composition = compose_command(["experiment=gentle", *arguments])
    assert composition.choices["technique"] == "learning_rate"
    experiment = build(composition.tree, Experiment, composition.origin)
    assert experiment.technique == LearningRate(layer_decay=0.9, head_multiplier=1.0)
    training = experiment.training
    assert (training.learning_rate, training.warmup_ratio, training.schedule) == (rate, 0.1, "linear")
    # Howard and Ruder's slanted triangle: up in a tenth of the steps, and down in the others.
    factors = [training.rate_factor(step, 100) for step in range(100)]
    assert factors[9] == factors[10] == max(factors) == 1.0
    assert factors[0] == pytest.approx(0.1)
    assert factors[99] == pytest.approx(1 / 90)
