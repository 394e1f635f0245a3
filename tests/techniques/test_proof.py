"""The proof of what moved: by a bit, by name, and as a run that fails where the technique does not hold its word."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import PreTrainedModel

from llama_experiments.data.sources import LocalFiles
from llama_experiments.errors import UserError
from llama_experiments.experiment import Experiment
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import read_journal
from llama_experiments.runs.tracker import Tracker, connect
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.techniques.base import ParameterGroup, Technique
from llama_experiments.techniques.freezing import Freeze
from llama_experiments.techniques.proof import Proof, record
from llama_experiments.training.settings import Training

SENTIMENT = SequenceClassification(labels=["negative", "positive"], max_length=48)
HEAD, NORM, EMBEDDINGS = "score.weight", "model.norm.weight", "model.embed_tokens.weight"


@pytest.fixture
def model(model_folder: Path) -> PreTrainedModel:
    """A classifier of which the head may move, and the final norm."""
    loaded = Checkpoint(checkpoint=str(model_folder)).load(SENTIMENT, seed=0).model
    return Freeze(patterns=[NORM]).adapt_model(loaded, 0)


def groups_of(model: PreTrainedModel, *names: str) -> list[ParameterGroup]:
    """A group for each name; its multiplier is its number, from 1."""
    return [
        ParameterGroup(name, [model.get_parameter(name)], float(number)) for number, name in enumerate(names, start=1)
    ]


def step_by(tensor: torch.Tensor, size: float) -> None:
    with torch.no_grad():
        tensor -= size


def by_one_bit(tensor: torch.Tensor) -> None:
    with torch.no_grad():
        flat = tensor.view(-1)
        flat[-1] = torch.nextafter(flat[-1], torch.tensor(torch.inf))


def test_every_tensor_is_told_with_its_rate_and_whether_it_moved(model: PreTrainedModel) -> None:
    proof = Proof(model, groups_of(model, HEAD, NORM))
    step_by(model.get_parameter(HEAD), 1e-3)
    by_one_bit(model.get_parameter(NORM))
    tensors = {tensor.name: tensor for tensor in proof.check(model, 1e-3, steps=2)}
    assert tensors.keys() == dict(model.named_parameters()).keys()
    assert {name for name, tensor in tensors.items() if tensor.moved} == {HEAD, NORM}
    rates = {name: tensor.multiplier for name, tensor in tensors.items() if tensor.multiplier is not None}
    assert rates == {HEAD: 1.0, NORM: 2.0}
    assert tensors[HEAD].parameters == 2 * 32
    assert {name: tensor.before for name, tensor in tensors.items()} == proof.before


def test_the_record_is_json_with_both_hashes(model: PreTrainedModel) -> None:
    proof = Proof(model, groups_of(model, HEAD, NORM))
    for name in (HEAD, NORM):
        step_by(model.get_parameter(name), 1e-3)
    read = json.loads(json.dumps(record(proof.check(model, 1e-3, steps=2))))
    assert read[HEAD]["moved"]
    assert read[HEAD]["before"] != read[HEAD]["after"]
    assert not read[EMBEDDINGS]["moved"]
    assert read[EMBEDDINGS]["before"] == read[EMBEDDINGS]["after"] == proof.before[EMBEDDINGS]
    assert read[EMBEDDINGS]["multiplier"] is None


def test_a_frozen_tensor_that_moves_by_a_bit_is_named(model: PreTrainedModel) -> None:
    proof = Proof(model, groups_of(model, HEAD, NORM))
    for name in (HEAD, NORM):
        step_by(model.get_parameter(name), 1e-3)
    by_one_bit(model.get_parameter(EMBEDDINGS))
    with pytest.raises(UserError, match=f"^technique: {EMBEDDINGS} moved, which the technique had frozen$"):
        proof.check(model, 1e-3, steps=2)


def test_of_many_the_first_are_named(model: PreTrainedModel) -> None:
    proof = Proof(model, groups_of(model, HEAD, NORM))
    for parameter in model.model.layers[1].parameters():
        step_by(parameter, 1e-3)
    with pytest.raises(UserError, match=r"layers.1.self_attn.v_proj.weight and 6 more moved, which"):
        proof.check(model, 1e-3, steps=2)


@pytest.mark.parametrize(
    ("grouped", "words"),
    [
        ((HEAD,), rf"{NORM} \(in no group\)$"),
        ((), rf"{NORM}, {HEAD} \(in no group\)$"),
        ((HEAD, NORM, EMBEDDINGS), rf"{EMBEDDINGS} \(in a group, but may not move\)$"),
        ((HEAD, NORM, HEAD), rf"{HEAD} \(in a group twice\)$"),
        # As many as there should be, but others.
        ((HEAD, EMBEDDINGS), rf"{NORM} \(in no group\); {EMBEDDINGS} \(in a group, but may not move\)$"),
    ],
)
def test_groups_that_are_not_what_may_move(grouped: tuple[str, ...], words: str, model: PreTrainedModel) -> None:
    expected = "^technique: its parameter groups must hold each tensor that may move, once, and no other: "
    with pytest.raises(UserError, match=expected + words):
        Proof(model, groups_of(model, *grouped))


def test_a_group_of_what_is_not_the_models(model: PreTrainedModel) -> None:
    stray = ParameterGroup("stray", [torch.nn.Parameter(torch.zeros(2))])
    with pytest.raises(UserError, match="a tensor that is not the model's"):
        Proof(model, [*groups_of(model, HEAD, NORM), stray])


@pytest.mark.parametrize(
    ("rate", "steps", "fails"),
    [
        (1e-3, 2, True),
        (1e-3, 1, False),  # half of a new adapter has no gradient yet
        (1e-7, 100, False),  # a step is less than the norm's rounding, whose values are 1
    ],
)
def test_what_may_move_and_does_not(rate: float, steps: int, fails: bool, model: PreTrainedModel) -> None:
    proof = Proof(model, groups_of(model, NORM, HEAD))
    by_one_bit(model.get_parameter(HEAD))
    if fails:
        with pytest.raises(UserError, match=f"^technique: {NORM} did not move in 2 steps, although it may: the loss"):
            proof.check(model, rate, steps)
        return
    still = [tensor.name for tensor in proof.check(model, rate, steps) if tensor.multiplier and not tensor.moved]
    assert still == [NORM]


def test_the_rate_of_its_group_tells_whether_a_tensor_would_have_moved(model: PreTrainedModel) -> None:
    """The same rate of training: five times it rounding hides, five thousand times it does not."""
    head, norm = model.get_parameter(HEAD), model.get_parameter(NORM)
    for multiplier, fails in ((5.0, False), (5000.0, True)):
        proof = Proof(model, [ParameterGroup("head", [head]), ParameterGroup("norm", [norm], multiplier)])
        by_one_bit(head)
        if fails:
            with pytest.raises(UserError, match=NORM):
                proof.check(model, 1e-8, steps=10)
        else:
            proof.check(model, 1e-8, steps=10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deceives(Freeze):
    """Freezes the trunk, and moves a bit of it behind the optimizer's back."""

    name: ClassVar[str] = "a technique that deceives"

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        def move(*_: object) -> None:
            if not torch.is_inference_mode_enabled():
                by_one_bit(model.model.embed_tokens.weight)

        model.score.register_forward_hook(move)  # the trunk itself may be run once, before the first step
        return super().adapt_model(model, seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpensWhatNothingDependsOn(Technique):
    """Adds a weight to the model that no output reads, and opens it."""

    name: ClassVar[str] = "a technique with a weight too many"

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        model.unread = torch.nn.Linear(2, 2, bias=False)
        return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForgetsSome(Freeze):
    """Opens a layer and gives the optimizer the head alone."""

    name: ClassVar[str] = "a technique that forgets"
    trainable_layers: int = 1

    def parameter_groups(self, model: PreTrainedModel) -> list[ParameterGroup]:
        return [ParameterGroup("head", list(model.score.parameters()))]


Run = Callable[[Technique], RunFolder]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of all runs here, so that the tracker's store is made once."""
    folder = tmp_path_factory.mktemp("outputs")
    connect(f"sqlite:///{folder / 'mlflow.db'}")
    return folder


@pytest.fixture
def run(outputs: Path, model_folder: Path, reviews: tuple[Path, Path], tmp_path: Path) -> Run:
    """A whole run of a technique, in this process."""

    def one(technique: Technique) -> RunFolder:
        experiment = Experiment(
            model=Checkpoint(checkpoint=str(model_folder)),
            dataset=LocalFiles(train=str(reviews[0]), validation=str(reviews[1])),
            task=SENTIMENT,
            technique=technique,
            training=Training(learning_rate=1e-3, epochs=1, save_model="none"),
            tracker=Tracker(),
            output_dir=str(outputs),
        )
        experiment.run(tmp_path / "run", {}, [], {})
        return RunFolder(tmp_path / "run")

    return one


def last_status(outputs: Path) -> Any:
    client = connect(f"sqlite:///{outputs / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(ids, order_by=["attributes.start_time DESC"], max_results=1)[0].info.status


def test_an_honest_run_leaves_its_proof(run: Run, outputs: Path) -> None:
    folder = run(Freeze())
    movement = json.loads(folder.movement.read_text())
    assert [name for name, tensor in movement.items() if tensor["moved"]] == [HEAD]
    assert "## What moved" in folder.report.read_text()
    assert last_status(outputs) == "FINISHED"


@pytest.mark.parametrize(
    ("technique", "words"),
    [
        (Deceives(), f"^technique: {EMBEDDINGS} moved, which the technique had frozen$"),
        (OpensWhatNothingDependsOn(), "^technique: unread.weight did not move in 6 steps, although it may"),
    ],
)
def test_a_technique_that_breaks_its_word_is_a_failed_run(
    technique: Technique, words: str, run: Run, outputs: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        run(technique)
    folder = RunFolder(tmp_path / "run")
    assert [epoch["epoch"] for epoch in read_journal(folder.epochs)] == [0, 1]
    assert not folder.report.exists()
    assert not folder.result.exists()
    assert last_status(outputs) == "FAILED"


def test_groups_that_are_incomplete_are_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.layers.1.input_layernorm.weight, .* and 7 more \(in no group\)$"):
        run(ForgetsSome())
    assert not (tmp_path / "run").exists()
