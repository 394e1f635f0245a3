"""Memory from the shape alone: what may move decides, passes and checkpointing spare activations."""

from __future__ import annotations

import pytest

from llama_experiments.planning.memory import ADAM_BYTES
from tests.planning.conftest import Estimate, Made

EMBEDDED = 504_864  # parameters of the default shape with two classes


def test_full_fine_tuning_holds_a_gradient_and_two_averages_of_every_weight(estimate: Estimate) -> None:
    memory = estimate("technique=full")
    assert memory.parameters == memory.trainable == EMBEDDED
    assert memory.gradients == 4 * EMBEDDED
    assert memory.optimizer == ADAM_BYTES * EMBEDDED
    assert memory.weights == pytest.approx(4 * EMBEDDED, rel=0.001)  # and the table of rotations
    assert memory.peak > memory.growth > memory.gradients + memory.optimizer + memory.activations


@pytest.mark.parametrize(
    ("technique", "trainable"),
    [
        ("freeze", 2 * 96),
        ("freeze_last", None),
        ("lora", None),
        ("prompt", 0),
    ],
)
@pytest.mark.parametrize("task", ["sentiment", "question_answering", "text_generation"])
def test_what_may_move_is_what_the_technique_says(
    technique: str, trainable: int | None, task: str, estimate: Estimate
) -> None:
    full = estimate(f"task={task}")
    memory = estimate(f"task={task}", f"technique={technique}")
    assert memory.trainable < full.trainable
    if trainable is not None and task == "sentiment":
        assert memory.trainable == trainable
    assert memory.gradients == 4 * memory.trainable
    assert memory.optimizer == ADAM_BYTES * memory.trainable
    assert memory.growth < full.growth


def test_a_language_models_head_alone_is_a_copy_of_its_own(estimate: Estimate) -> None:
    full, head = estimate("task=text_generation"), estimate("task=text_generation", "technique=freeze")
    assert head.parameters == full.parameters + head.trainable


def test_activations_grow_with_rows_and_tokens_and_not_with_the_steps_batch(estimate: Estimate) -> None:
    eight = estimate("training.batch_size=8")
    two = estimate("training.batch_size=8", "training.micro_batch_size=2")
    assert two.activations == pytest.approx(eight.activations / 4, rel=0.05)
    assert estimate("training.batch_size=32", "training.micro_batch_size=8").activations == eight.activations
    assert estimate(length=128).activations == pytest.approx(2 * eight.activations, rel=0.05)


def test_gradient_checkpointing_and_bf16_spare_activations(estimate: Estimate) -> None:
    plain = estimate(length=256).activations
    assert estimate("training.gradient_checkpointing=true", length=256).activations < 0.5 * plain
    assert 0.5 * plain < estimate("training.precision=bf16", length=256).activations < 0.85 * plain


def test_eager_attention_holds_a_weight_for_each_pair_of_tokens(estimate: Estimate) -> None:
    fused = estimate("technique=full", "model.attention=sdpa", length=256).activations
    eager = estimate("technique=full", "model.attention=eager", length=256).activations
    layers, heads, rows = 3, 6, 8  # the fourth and last runs for one position of each row
    assert eager - fused >= layers * heads * rows * 256 * 256 * 4 / 1.25  # of which the fused one holds a little


def test_a_kernel_for_texts_end_to_end_holds_as_much_as_sdpas(
    estimate: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks where texts begin, which tensors without contents do not tell."""
    fused = estimate("technique=full", "model.attention=sdpa", length=256)
    monkeypatch.setattr("llama_experiments.models.base.attention_problem", lambda _: None)
    assert estimate("technique=full", "model.attention=varlen", length=256) == fused


def test_an_evaluation_may_be_the_highest_point(estimate: Estimate) -> None:
    memory = estimate("technique=freeze", "training.evaluation_batch_size=512")
    assert memory.evaluation > memory.gradients + memory.activations
    assert memory.growth >= memory.evaluation


def test_the_states_of_the_8_bit_optimizer_are_a_quarter(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_experiments.planning.memory import estimate_memory
    from llama_experiments.planning.shape import model_shape
    from llama_experiments.planning.skeleton import stand_in_task
    from llama_experiments.planning.work import Lengths
    from llama_experiments.training.settings import Training

    monkeypatch.setattr(Training, "problems", lambda self: [])
    experiment = made("model=embedded_from_scratch", "training.optimizer=adamw_8bit")
    task = stand_in_task(experiment.task, experiment.dataset.labels)
    memory = estimate_memory(experiment, model_shape(experiment.model), task, Lengths(32, 32, 9, 9), "cpu")
    assert memory.optimizer == pytest.approx(ADAM_BYTES * EMBEDDED / 4, rel=0.05)


def test_processes_hold_each_their_own(estimate: Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    one = estimate()
    monkeypatch.setenv("WORLD_SIZE", "2")
    from llama_experiments.planning import memory

    monkeypatch.setattr(memory, "_KNOWN", {})
    two = estimate()
    assert two.processes == 2
    assert two.activations < one.activations  # each has half of the rows
    assert two.peak == 2 * (two.libraries + two.weights + two.growth)
