"""What is frozen is run once. Kept, found or made again, the bits are the same, and the numbers are plain passes'."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset as Table
from transformers import PreTrainedModel

from llama_experiments.data.rows import Rows
from llama_experiments.data.tokenized import encode
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.tasks.trunk import frozen_depth
from llama_experiments.techniques.base import Technique
from llama_experiments.techniques.composed import Composed
from llama_experiments.techniques.freezing import Freeze
from llama_experiments.techniques.lora import LoRA
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.frozen_trunk import FrozenTrunk, frozen_trunk
from llama_experiments.training.loop import fit
from llama_experiments.training.settings import Training
from llama_experiments.training.step import Step
from tests.conftest import THINGS
from tests.training.conftest import Case

TRAINING = Training(learning_rate=3e-3, epochs=2, evaluation_batch_size=7)
LAST_LORA = Composed(parts={"freeze": Freeze(trainable_layers=1), "lora": LoRA(dropout=0.2)})
TECHNIQUES = {"head": Freeze(), "last": Freeze(trainable_layers=1), "lora": LAST_LORA}


@pytest.fixture(scope="module")
def question_answering(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    task, tokenizer = QuestionAnswering(max_length=48, stride=16), load_tokenizer(model_folder)
    examples = {}
    for part, first, number in (("train", 0, 19), ("validation", 40, 9)):
        contexts = [
            f"Number {at}: the {THINGS[at % 8]} was" + " very" * (at % 7) + " warm."
            for at in range(first, first + number)
        ]
        table = Table.from_dict(
            {
                "question": ["What was warm?"] * number,
                "context": contexts,
                "answers": [
                    {"text": [THINGS[at % 8]], "answer_start": [context.index(THINGS[at % 8])]}
                    for at, context in enumerate(contexts, first)
                ],
            }
        )
        rows = task.prepared(Rows(part, f"{part} rows", table, np.arange(number) + 1, {}))
        examples[part] = encode(rows, task, tokenizer, tmp_path_factory.mktemp("cache"))
    return Case(task, [], examples, model_folder)


@pytest.fixture(params=["sentiment", "question_answering", "text_generation"])
def case(request: pytest.FixtureRequest) -> Case:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Case)
    return found


@dataclasses.dataclass(frozen=True)
class Seen:
    """A training: all its numbers, and the weights after it."""

    numbers: list[float]
    losses: list[float]
    weights: dict[str, torch.Tensor]
    trunk: FrozenTrunk | None


def trained(case: Case, technique: Technique, cache: Path | None, **settings: Any) -> Seen:
    """Train what the technique opens; without a cache the trunk is run in each pass."""
    training = dataclasses.replace(TRAINING, **settings)
    model = technique.adapt_model(case.model(), 0)
    groups = technique.parameter_groups(model)
    task_model, accelerator = TaskModel(model, case.task), make_accelerator(training)
    steps: list[Step] = []
    trunk = frozen_trunk(task_model, case.examples.values(), training, accelerator, cache) if cache else None
    epochs = list(
        fit(
            task_model,
            case.examples["train"],
            case.examples["validation"],
            training=training,
            groups=groups,
            seed=0,
            accelerator=accelerator,
            on_step=steps.append,
            frozen=trunk,
        )
    )
    losses = [step.loss / step.count for step in steps]
    losses += [epoch.evaluation.loss for epoch in epochs if epoch.evaluation is not None]
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return Seen(losses + [step.gradient_norm for step in steps], losses, weights, trunk)


def assert_same_bits(one: Seen, other: Seen) -> None:
    assert one.numbers == other.numbers
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the frozen part is run on from now on."""
    sizes: list[int] = []
    run = FrozenTrunk._run

    def counted(self: FrozenTrunk, examples: Any, indices: np.ndarray) -> torch.Tensor:
        sizes.append(len(indices))
        return run(self, examples, indices)

    monkeypatch.setattr(FrozenTrunk, "_run", counted)
    return sizes


@pytest.mark.parametrize("name", TECHNIQUES)
def test_kept_found_or_made_again_the_bits_are_the_same(
    case: Case, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = count_runs(monkeypatch)
    made = trained(case, TECHNIQUES[name], tmp_path)
    rows = sum(map(len, case.examples.values()))
    assert sum(sizes) == rows + 2  # each once for all epochs, and one of each part to see the type of its numbers
    sizes.clear()
    assert_same_bits(trained(case, TECHNIQUES[name], tmp_path), made)
    assert sizes == []
    before = sorted(tmp_path.rglob("*"))
    assert_same_bits(trained(case, TECHNIQUES[name], tmp_path, trunk_cache="off"), made)
    assert sum(sizes) == rows + 2
    assert sorted(tmp_path.rglob("*")) == before  # off leaves nothing behind
    # And they are the numbers of passes that run the whole trunk.
    plain = trained(case, TECHNIQUES[name], None)
    assert plain.losses == pytest.approx(made.losses, abs=1e-6)
    for weight, value in plain.weights.items():
        if not (
            weight.startswith("qa_outputs.") and weight.endswith("bias")
        ):  # which has no gradient, and Adam makes steps of its rounding
            torch.testing.assert_close(made.weights[weight], value, rtol=0, atol=1e-5, msg=weight)


@pytest.mark.parametrize(
    ("technique", "depth"),
    [
        (Technique(), 0),
        (Freeze(), 3),
        (Freeze(trainable_layers=1), 1),
        (Freeze(trainable_layers=2), 0),
        (Freeze(patterns=["*norm.weight"]), 0),
        (Freeze(patterns=["model.norm.weight"]), 2),
        (Freeze(patterns=["*embed_tokens*"]), 0),
        (LoRA(), 0),
        (LoRA(target_modules=["layers.1.self_attn.q_proj"]), 1),
        (LAST_LORA, 1),
    ],
)
def test_the_depth_is_read_off_the_model(sentiment: Case, technique: Technique, depth: int) -> None:
    assert frozen_depth(technique.adapt_model(sentiment.model(), 0).base_model) == depth


def test_of_a_classifier_with_a_frozen_trunk_only_pooled_states_are_kept(sentiment: Case, tmp_path: Path) -> None:
    trained(sentiment, Freeze(), tmp_path)
    sizes = [file.stat().st_size for file in (tmp_path / "trunk").iterdir()]
    assert sorted(sizes) == sorted(len(part) * 32 * 4 for part in sentiment.examples.values())


def test_a_layout_end_to_end_gives_the_same(case: Case, tmp_path: Path) -> None:
    packed = trained(case, TECHNIQUES["last"], tmp_path, layout="packed")
    assert packed.losses == pytest.approx(trained(case, TECHNIQUES["last"], tmp_path).losses, abs=1e-5)


def test_other_weights_precisions_and_batches_are_kept_apart(sentiment: Case, tmp_path: Path) -> None:
    trained(sentiment, Freeze(), tmp_path)
    files = set((tmp_path / "trunk").iterdir())

    def more(**settings: Any) -> int:
        trained(sentiment, Freeze(), tmp_path, **settings)
        found = set((tmp_path / "trunk").iterdir())
        new = len(found - files)
        files.update(found)
        return new

    assert more() == more(learning_rate=1e-2, epochs=1, batch_size=5) == 0
    assert more(precision="bf16") == 2
    assert more(evaluation_batch_size=9) == 2

    def change(model: PreTrainedModel) -> PreTrainedModel:
        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight[0, 0] += 1e-3
        return model

    class Changed(Freeze):
        def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
            return super().adapt_model(change(model), seed)

    before = len(files)
    trained(sentiment, Changed(), tmp_path)
    assert len(set((tmp_path / "trunk").iterdir())) == before + 2


def test_what_is_larger_than_the_limit_is_run_in_each_pass(sentiment: Case, tmp_path: Path) -> None:
    rows = sum(map(len, sentiment.examples.values()))
    fits = rows * 32 * 4 / 1e9
    assert trained(sentiment, Freeze(), tmp_path, trunk_cache_gb=fits).trunk is not None
    found = trained(sentiment, Freeze(), tmp_path, trunk_cache_gb=fits * 0.99)
    assert found.trunk is None
    assert_same_bits(found, trained(sentiment, Freeze(), None))


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)


@pytest.mark.usefixtures("full_disk")
def test_without_room_on_the_disk_the_bits_are_the_same(sentiment: Case, tmp_path: Path) -> None:
    found = trained(sentiment, Freeze(), tmp_path)
    assert list((tmp_path / "trunk").iterdir()) == []
    assert_same_bits(found, trained(sentiment, Freeze(), tmp_path, trunk_cache="off"))
