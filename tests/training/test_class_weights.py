"""Weights change what is minimised, by a step's own total weight, and not what is reported."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from llama_experiments.data.order import epoch_batches
from tests.conftest import sentences
from tests.training.conftest import SENTIMENT, Case, Trained, make_case

# Three of four rows are positive, and every step has another share of them.
ROWS = [row for number, row in enumerate(sentences(80)) if number % 2 or number % 6 == 0][:48]
PAIRS = {"train": ROWS, "validation": sentences(16, start=100)}
WEIGHTS = {"negative": 5.0, "positive": 0.5}


@pytest.fixture(scope="module")
def plain(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(SENTIMENT, PAIRS, model_folder, tmp_path_factory.mktemp("cache"))


def weighted(case: Case, weights: dict[str, float]) -> Case:
    task = dataclasses.replace(SENTIMENT, class_weights=weights)
    return dataclasses.replace(
        case, task=task, examples=case.examples | {"train": task.weighted(case.examples["train"])}
    )


def numbers(done: Trained) -> list[float]:
    return [number for number in done.numbers() if number is not None]


def test_a_step_takes_the_gradient_of_torchs_weighted_mean(plain: Case) -> None:
    case, model = weighted(plain, WEIGHTS), plain.model()
    train = case.examples["train"]
    shares = set()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, foreach=False)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor([5.0, 0.5]))
    theirs = []
    for indices in epoch_batches(train.lengths, 8, seed=0, epoch=1):
        batch = train.batch(indices)
        mask = (torch.arange(batch["input_ids"].shape[1]) < batch["lengths"][:, None]).long()
        ids = batch["input_ids"].masked_fill(mask == 0, model.config.pad_token_id)
        logits = model(input_ids=ids, attention_mask=mask).logits
        optimizer.zero_grad()
        criterion(logits, batch["label"]).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf)
        theirs.append((float(torch.nn.functional.cross_entropy(logits, batch["label"]).detach()), float(norm)))
        optimizer.step()
        shares.add(float(batch["label"].double().mean()))
    assert len(shares) > 2
    ours = case.trained(epochs=1, weight_decay=0.0, schedule="constant", max_grad_norm=None)
    assert len(ours.steps) == len(theirs) == 6
    for step, (loss, norm) in zip(ours.steps, theirs, strict=True):
        assert step.loss / step.count == pytest.approx(loss, abs=1e-5)
        assert step.gradient_norm == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_passes_change_no_number(micro_batch: int, plain: Case) -> None:
    case = weighted(plain, WEIGHTS)
    whole, cut = case.trained(epochs=2), case.trained(epochs=2, micro_batch_size=micro_batch)
    assert numbers(cut) == pytest.approx(numbers(whole), rel=1e-4, abs=1e-5)


def test_reported_losses_are_those_without_weights(plain: Case) -> None:
    """Before the first update weights can be seen in the gradient alone."""
    ours, theirs = weighted(plain, WEIGHTS).trained(epochs=1), plain.trained(epochs=1)
    assert ours.steps[0].loss == theirs.steps[0].loss
    assert ours.steps[0].gradient_norm != pytest.approx(theirs.steps[0].gradient_norm, rel=0.05)
    first, other = ours.epochs[0].evaluation, theirs.epochs[0].evaluation
    assert first is not None
    assert other is not None
    assert (first.loss, first.metrics) == (other.loss, other.metrics)
    assert ours.epochs[1].train_loss == pytest.approx(
        sum(step.loss for step in ours.steps) / len(plain.examples["train"])
    )


def test_equal_weights_are_no_weights(plain: Case) -> None:
    ours = weighted(plain, {"negative": 7.0, "positive": 7.0}).trained(epochs=2)
    assert numbers(ours) == pytest.approx(numbers(plain.trained(epochs=2)), rel=1e-4, abs=1e-5)


def test_weights_move_the_model_towards_the_rare_class(plain: Case) -> None:
    recalls = []
    for case in (plain, weighted(plain, {"negative": 20.0})):
        evaluation = case.trained(epochs=1, learning_rate=3e-3).epochs[-1].evaluation
        assert evaluation is not None
        recalls.append(evaluation.metrics["recall_negative"])
    assert recalls[1] > recalls[0]
