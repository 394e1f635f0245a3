"""The same config gives the same numbers to the last bit, dropout included."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from llama_experiments.training.step import Step
from tests.conftest import save_tiny_llama
from tests.training.conftest import PAIRS, SENTIMENT, TEXT_GENERATION, Case, Trained, make_case


@pytest.fixture(scope="module")
def dropout_folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with dropout in its attention."""
    return save_tiny_llama(tmp_path_factory.mktemp("dropout"), tokenizer_folder, attention_dropout=0.3)


@pytest.fixture(params=[SENTIMENT, TEXT_GENERATION], ids=["sentiment", "text_generation"])
def dropout(request: pytest.FixtureRequest, dropout_folder: Path, tmp_path: Path) -> Case:
    return make_case(request.param, PAIRS, dropout_folder, tmp_path)


def assert_same_bits(one: Trained, other: Trained) -> None:
    assert one.numbers() == other.numbers()
    assert [step.examples_hash for step in one.steps] == [step.examples_hash for step in other.steps]
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name


def test_two_runs_are_bit_identical(case: Case) -> None:
    one, other = case.trained(epochs=2), case.trained(epochs=2)
    assert_same_bits(one, other)
    start = case.model().state_dict()
    assert not any(torch.equal(tensor, start[name]) for name, tensor in one.weights.items())  # all of them moved


def draw(_: Step) -> None:
    torch.rand(3)


def test_two_runs_with_dropout_are_bit_identical(dropout: Case) -> None:
    """Also when something else has drawn random numbers in between."""
    one = dropout.trained(epochs=2, micro_batch_size=3)
    torch.manual_seed(12345)
    other = dropout.trained(epochs=2, micro_batch_size=3, on_step=draw)
    assert_same_bits(one, other)


def test_dropout_drops_in_training_only(dropout: Case, model_folder: Path, tmp_path: Path) -> None:
    without = make_case(dropout.task, PAIRS, model_folder, tmp_path)
    with_dropout, plain = dropout.trained(epochs=1), without.trained(epochs=1)
    assert with_dropout.epochs[0].evaluation is not None
    assert plain.epochs[0].evaluation is not None
    assert with_dropout.epochs[0].evaluation.loss == plain.epochs[0].evaluation.loss  # the same weights
    assert abs(with_dropout.steps[0].loss - plain.steps[0].loss) > 1e-3


def test_dropout_differs_from_step_to_step_and_by_seed(dropout: Case, tmp_path: Path) -> None:
    """With weights that hardly move, nothing else changes the loss of the one example there is."""
    one_row = {"train": PAIRS["train"][3:4], "validation": PAIRS["validation"]}
    case = make_case(dropout.task, one_row, dropout.checkpoint, tmp_path)

    def first_losses(seed: int) -> list[float]:
        done = case.trained(epochs=4, batch_size=100, learning_rate=1e-12, evaluate_first=False, seed=seed)
        return [step.loss / step.count for step in done.steps]

    losses = first_losses(0) + first_losses(1)
    assert min(abs(a - b) for a, b in itertools.combinations(losses, 2)) > 1e-5


def test_another_seed_is_another_order_of_the_same_examples(case: Case) -> None:
    one, other = case.trained(epochs=1, seed=0), case.trained(epochs=1, seed=1)
    assert [step.examples_hash for step in one.steps] != [step.examples_hash for step in other.steps]
    assert one.epochs[1].examples == other.epochs[1].examples
    assert one.epochs[1].tokens == other.epochs[1].tokens
    # Our model() draws the head with one seed, so epoch 0 is the same.
    assert one.epochs[0].evaluation is not None
    assert other.epochs[0].evaluation is not None
    assert one.epochs[0].evaluation.loss == other.epochs[0].evaluation.loss


def test_an_epoch_in_progress_is_no_concern_of_another(sentiment: Case) -> None:
    """Two trainings side by side, an epoch of each in turn, give what each gives alone."""
    (_, left), (_, right) = sentiment.epochs(epochs=2), sentiment.epochs(epochs=2, seed=7)
    in_turn = list(zip(left, right, strict=True))
    for position, seed in enumerate((0, 7)):
        alone = sentiment.trained(epochs=2, seed=seed)
        assert [pair[position].train_loss for pair in in_turn] == [epoch.train_loss for epoch in alone.epochs]
