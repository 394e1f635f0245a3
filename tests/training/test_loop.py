"""The loop gives the numbers of the loop that a textbook would write, however a step is cut up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import PreTrainedModel

from llama_experiments.data.order import epoch_batches
from llama_experiments.errors import UserError
from llama_experiments.tasks.base import Task
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.loop import fit
from llama_experiments.training.settings import Training
from llama_experiments.training.step import Step
from tests.conftest import SHARED
from tests.training.conftest import LABELS, SENTIMENT, TEXT_GENERATION, Case, make_case

STORIES = SHARED / "stories260K"
needs_shared = pytest.mark.skipif(not STORIES.is_dir(), reason="no real trained Llama here")

# Each of these changes the losses by more than the tolerance when it is left out.
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "weight_decay": 0.5,
    "warmup_ratio": 0.25,
    "max_grad_norm": 1.0,
    "learning_rate": 1e-3,
}
PLAIN_STEPS = 20


def padded(rows: list[list[int]], padding: int) -> torch.Tensor:
    """Rows of ids as one tensor, padded on the right."""
    length = max(map(len, rows))
    return torch.tensor([row + [padding] * (length - len(row)) for row in rows])


def as_transformers_takes_it(case: Case, model: PreTrainedModel, indices: np.ndarray) -> dict[str, torch.Tensor]:
    """A batch with an attention mask and labels; sentiment's tokens come from the texts themselves."""
    pad = model.config.pad_token_id
    if case.task is SENTIMENT:
        texts = [case.texts[index] for index in indices]
        rows = case.tokenizer()(texts, truncation=True, max_length=SENTIMENT.max_length)["input_ids"]
        labels = torch.tensor([case.examples["train"].fixed["label"][index] for index in indices])
    else:
        values, offsets = case.examples["train"].ragged["input_ids"]
        rows = [values[offsets[index] : offsets[index + 1]].tolist() for index in indices]
        labels = padded(rows, -100)
    mask = padded([[1] * len(row) for row in rows], 0)
    return {"input_ids": padded(rows, pad), "attention_mask": mask, "labels": labels}


def plain_loop(case: Case) -> list[tuple[float, float, float]]:
    """(loss, gradient norm, learning rate) of the first steps by transformers' own loss, in one pass a step."""
    model = case.model()
    exempt = [parameter for name, parameter in model.named_parameters() if "norm" in name or name.endswith("bias")]
    decayed = [parameter for name, parameter in model.named_parameters() if "norm" not in name and "bias" not in name]
    groups = [{"params": decayed, "weight_decay": 0.5}, {"params": exempt, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, foreach=False, fused=False)
    train = case.examples["train"]
    batches = [batch for epoch in (1, 2, 3) for batch in epoch_batches(train.lengths, 8, seed=0, epoch=epoch)]
    total, warmup = len(batches), math.ceil(len(batches) * 0.25)

    def factor(step: int) -> float:
        return (step + 1) / warmup if step < warmup else (total - step) / (total - warmup)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    model.train()
    done = []
    for indices in batches[:PLAIN_STEPS]:
        loss = model(**as_transformers_takes_it(case, model, indices)).loss
        loss.backward()
        norm = clip_grad_norm_(model.parameters(), 1.0)
        done.append((loss.item(), norm.item(), float(schedule.get_last_lr()[0])))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return done


def assert_as_the_plain_loop(case: Case, micro_batch_size: int | None) -> None:
    expected = plain_loop(case)
    steps = case.trained(**SETTINGS, micro_batch_size=micro_batch_size).steps
    assert len(steps) > PLAIN_STEPS
    losses = [step.loss / step.count for step in steps[:PLAIN_STEPS]]
    assert losses == pytest.approx([loss for loss, _, _ in expected], abs=1e-5)
    norms = [norm for _, norm, _ in expected]
    assert [step.gradient_norm for step in steps[:PLAIN_STEPS]] == pytest.approx(norms, rel=1e-4)
    assert [step.learning_rate for step in steps[:PLAIN_STEPS]] == pytest.approx([rate for _, _, rate in expected])
    # Or the comparison would say little: clipping had work to do, and the weights moved.
    assert max(norms) > 1.0
    assert max(losses) - min(losses) > 0.05


@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_losses_are_those_of_a_plain_loop(case: Case, micro_batch_size: int | None) -> None:
    assert_as_the_plain_loop(case, micro_batch_size)


@needs_shared
@pytest.mark.parametrize("task", [SENTIMENT, TEXT_GENERATION], ids=["sentiment", "text_generation"])
def test_losses_of_a_real_llama_are_those_of_a_plain_loop(task: Task, tmp_path: Path) -> None:
    lines = (SHARED / "sst2" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:76]
    pairs = [(text, LABELS[int(label)]) for text, label in (line.split("\t") for line in lines)]
    case = make_case(task, {"train": pairs, "validation": pairs[:8]}, STORIES, tmp_path)
    assert_as_the_plain_loop(case, micro_batch_size=None)


def uneven_seed(case: Case) -> int:
    """A seed whose first step has eight examples, in text generation of unlike numbers of tokens."""
    train = case.examples["train"]
    for seed in range(100):
        batch = epoch_batches(train.lengths, 8, seed, epoch=1)[0]
        in_pairs = train.counts[batch].reshape(-1, 2).mean(axis=1) if len(batch) == 8 else np.zeros(1)
        if in_pairs.min() > 0 and (case.task is SENTIMENT or in_pairs.max() > 1.5 * in_pairs.min()):
            return seed
    raise AssertionError("no such seed")


def first_gradient(case: Case, micro_batch_size: int | None) -> list[torch.Tensor]:
    """The gradient that the optimizer sees in the first step."""
    caught: list[torch.Tensor] = []

    def catch(optimizer: torch.optim.Optimizer, *_: object) -> None:
        if not caught:
            groups = optimizer.param_groups
            caught.extend(parameter.grad.clone() for group in groups for parameter in group["params"])

    handle = register_optimizer_step_pre_hook(catch)
    try:
        case.trained(
            epochs=1,
            seed=uneven_seed(case),
            max_grad_norm=None,
            evaluate_first=False,
            micro_batch_size=micro_batch_size,
        )
    finally:
        handle.remove()
    return caught


@pytest.mark.parametrize("micro_batch_size", [1, 2, 3])
def test_the_gradient_is_the_same_in_any_number_of_passes(case: Case, micro_batch_size: int) -> None:
    """A mean of the passes' means would give text generation another one."""
    at_once, in_passes = first_gradient(case, None), first_gradient(case, micro_batch_size)
    assert len(at_once) == len(list(case.model().parameters()))
    largest = max(float(gradient.abs().max()) for gradient in at_once)
    assert largest > 1e-2
    for one, several in zip(at_once, in_passes, strict=True):
        torch.testing.assert_close(one, several, rtol=0, atol=5e-6 * largest)


def test_epochs_add_up_what_their_steps_report(case: Case) -> None:
    done = case.trained(epochs=2)
    train = case.examples["train"]
    an_epoch = Training(learning_rate=1.0).steps_per_epoch(len(train))
    assert [step.step for step in done.steps] == list(range(1, 2 * an_epoch + 1))
    assert {step.steps for step in done.steps} == {2 * an_epoch}
    assert [epoch.epoch for epoch in done.epochs] == [0, 1, 2]
    for epoch in done.epochs[1:]:
        steps = [step for step in done.steps if step.epoch == epoch.epoch]
        assert len(steps) == an_epoch
        assert epoch.examples == len(train) == sum(step.examples for step in steps)
        assert epoch.tokens == train.lengths.sum() == sum(step.tokens for step in steps)
        assert sum(step.count for step in steps) == train.counts.sum()
        assert epoch.train_loss == pytest.approx(sum(step.loss for step in steps) / train.counts.sum(), rel=1e-12)
        assert epoch.learning_rate == steps[-1].learning_rate
    assert done.epochs[2].train_loss < done.epochs[1].train_loss  # type: ignore[operator]


def test_a_batch_may_hold_everything(sentiment: Case) -> None:
    done = sentiment.trained(epochs=2, batch_size=1000, micro_batch_size=16)
    assert [step.examples for step in done.steps] == [51, 51]


def gradient_norms(case: Case, **settings: Any) -> list[float]:
    return [step.gradient_norm for step in case.trained(epochs=1, evaluate_first=False, **settings).steps]


def test_the_norm_is_told_before_clipping_and_null_never_clips(sentiment: Case) -> None:
    loose, tight, never = (gradient_norms(sentiment, max_grad_norm=limit) for limit in (1e9, 1e-3, None))
    assert loose == never
    assert tight[0] == loose[0] > 1e-2
    # Adam sees hardly a difference between gradients that are all scaled alike; its epsilon does.
    assert tight[1:] != loose[1:]


def test_precision_governs_the_arithmetic_and_weights_stay_fp32(sentiment: Case) -> None:
    exact, narrow = sentiment.trained(epochs=1), sentiment.trained(epochs=1, precision="bf16")
    assert {tensor.dtype for tensor in narrow.weights.values()} == {torch.float32}
    losses = [[step.loss / step.count for step in done.steps] for done in (exact, narrow)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert exact.epochs[0].evaluation is not None
    assert narrow.epochs[0].evaluation is not None
    # The evaluation is in the same arithmetic.
    assert 0 < abs(exact.epochs[0].evaluation.loss - narrow.epochs[0].evaluation.loss) < 0.05


def test_training_that_diverges_is_told(case: Case) -> None:
    steps: list[Step] = []
    with pytest.raises(
        UserError, match=r"training\.learning_rate: the (loss|gradient) is (nan|inf) in step \d+: .*now 1e\+30"
    ):
        case.trained(learning_rate=1e30, epochs=2, on_step=steps.append)
    assert all(math.isfinite(step.loss) for step in steps)  # none that is no number is recorded


def test_training_that_diverges_in_its_last_step_is_told(sentiment: Case) -> None:
    """No step is left to show it: only the evaluation does."""
    _, epochs = sentiment.epochs(learning_rate=1e39, epochs=1, batch_size=1000)
    assert next(epochs).epoch == 0
    with pytest.raises(UserError, match=r"training\.learning_rate: .*training diverged"):
        next(epochs)


@pytest.mark.parametrize(("every", "evaluated"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4, 5]), (9, [0, 5])])
def test_evaluations_come_every_so_many_epochs_and_last(every: int, evaluated: list[int], sentiment: Case) -> None:
    done = sentiment.trained(epochs=5, evaluate_every=every)
    assert [epoch.epoch for epoch in done.epochs] == [0, 1, 2, 3, 4, 5]
    assert [epoch.epoch for epoch in done.epochs if epoch.evaluation] == evaluated


def test_evaluating_changes_no_training_number(case: Case) -> None:
    often, seldom = case.trained(epochs=2), case.trained(epochs=2, evaluate_first=False, evaluate_every=2)
    assert [epoch.epoch for epoch in seldom.epochs] == [1, 2]
    assert [step.loss for step in often.steps] == [step.loss for step in seldom.steps]
    last = [done.epochs[-1].evaluation for done in (often, seldom)]
    assert last[0] is not None
    assert last[1] is not None
    assert last[0].loss == last[1].loss


def test_epoch_0_is_the_starting_weights(case: Case) -> None:
    model, epochs = case.epochs()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = next(epochs)
    assert (first.epoch, first.train_loss, first.learning_rate, first.examples) == (0, None, None, 0)
    assert all(torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())


def test_nothing_moves_without_parameter_groups(sentiment: Case) -> None:
    training = Training(learning_rate=1.0, evaluate_first=False)
    task_model = sentiment.task_model()
    start = {name: tensor.clone() for name, tensor in task_model.state_dict().items()}
    epochs = list(
        fit(
            task_model,
            sentiment.examples["train"],
            sentiment.examples["validation"],
            training=training,
            groups=[],
            seed=0,
            accelerator=make_accelerator(training),
            on_step=lambda _: pytest.fail("a step"),
        )
    )
    assert [epoch.epoch for epoch in epochs] == [0]
    assert epochs[0].evaluation is not None
    assert all(torch.equal(tensor, start[name]) for name, tensor in task_model.state_dict().items())
