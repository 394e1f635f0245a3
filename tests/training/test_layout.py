"""Packed or padded: a layout is no part of the mathematics, and a document's neighbours are no part of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llama_experiments.errors import UserError
from llama_experiments.tasks.trunk import hidden_states
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.evaluation import evaluate
from llama_experiments.training.probe import probe_padding
from llama_experiments.training.settings import Training
from tests.training.conftest import TEXT_GENERATION, Case

STEPS = 20


@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_twenty_steps_have_the_same_losses_packed_and_padded(case: Case, micro_batch_size: int | None) -> None:
    settings = {"epochs": 3, "micro_batch_size": micro_batch_size}
    padded = case.trained(layout="padded", **settings)
    packed = case.trained(layout="packed", **settings)
    losses = [[step.loss / step.count for step in run.steps[:STEPS]] for run in (padded, packed)]
    assert len(losses[0]) == STEPS
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert max(losses[0]) - min(losses[0]) > 0.05, "nothing was learned, so little was compared"
    evaluations = [[epoch.evaluation.loss for epoch in run.epochs if epoch.evaluation] for run in (padded, packed)]
    assert evaluations[0] == pytest.approx(evaluations[1], abs=1e-5)
    # The same documents in every step, told by the ledger.
    assert [step.examples_hash for step in padded.steps] == [step.examples_hash for step in packed.steps]
    assert [step.tokens for step in padded.steps] == [step.tokens for step in packed.steps]


def test_an_evaluation_is_the_same_packed_and_padded(case: Case) -> None:
    accelerator = make_accelerator(Training(learning_rate=1.0))
    found = [
        evaluate(case.task_model(), case.task, case.examples["validation"], 8, accelerator, packed=packed)
        for packed in (False, True)
    ]
    assert found[0].loss == pytest.approx(found[1].loss, abs=1e-6)
    for name, values in found[0].predictions.items():
        np.testing.assert_allclose(values, found[1].predictions[name], rtol=0, atol=2e-5, err_msg=name)


def test_the_trunk_sees_documents_end_to_end_in_one_row(case: Case) -> None:
    """Or a comparison of layouts would compare one with itself."""
    model = case.model().eval()
    seen: list[dict[str, torch.Tensor]] = []
    model.model.register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
    indices = np.array([0, 1, 2])
    lengths = case.examples["train"].lengths[indices]
    case.task.output(model, case.examples["train"].batch(indices, packed=True))
    case.task.output(model, case.examples["train"].batch(indices))
    assert seen[0]["input_ids"].shape == (1, lengths.sum())
    assert seen[0]["position_ids"][0].tolist() == [place for length in lengths for place in range(length)]
    assert seen[1]["input_ids"].shape == (3, lengths.max())
    assert not any("attention_mask" in given for given in seen), "transformers would ignore the packing"


@pytest.mark.parametrize("packed", [True, False])
def test_a_token_of_one_document_changes_nothing_in_its_neighbours(packed: bool, text_generation: Case) -> None:
    model = text_generation.model().eval()
    batch = text_generation.examples["train"].batch(np.array([3, 4, 5, 6]), packed)
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][1, 2:5] += 7
    real = torch.arange(batch["input_ids"].shape[1]) < batch["lengths"][:, None]
    with torch.no_grad():
        before, after = (hidden_states(model.model, given) for given in (batch, changed))
    same = (before == after).all(dim=2) | ~real
    assert same[[0, 2, 3]].all()
    assert same[1, :2].all(), "what comes before it"
    assert not same[1, 2:][real[1, 2:]].any(), "what comes after it in its own document"


@pytest.mark.parametrize(
    ("layout", "attention", "packs"),
    [
        ("auto", "sdpa", False),
        ("auto", "eager", False),
        ("auto", "flash_attention_2", True),
        ("auto", "varlen", True),
        ("packed", "sdpa", True),
        ("padded", "flash_attention_2", False),
    ],
)
def test_the_layout_is_as_set_or_as_fits_the_attention(layout: str, attention: str, packs: bool) -> None:
    assert Training(learning_rate=1.0, layout=layout).packs(attention) is packs  # type: ignore[arg-type]


def test_the_probe_finds_an_attention_that_sees_neighbours(text_generation: Case) -> None:
    """As one does where a mask is given beside the positions."""
    task_model, examples = text_generation.task_model(), text_generation.examples["validation"]
    cpu = torch.device("cpu")
    assert probe_padding(task_model, examples, cpu, packed=True) < 1e-5
    assert probe_padding(task_model, examples, cpu) < 1e-5

    def spoil(_: object, __: object, given: dict[str, torch.Tensor]) -> tuple[tuple[()], dict[str, torch.Tensor]]:
        return (), {**given, "attention_mask": torch.ones_like(given["input_ids"])}

    task_model.model.model.register_forward_pre_hook(spoil, with_kwargs=True)
    assert probe_padding(task_model, examples, cpu) < 1e-5
    with pytest.raises(UserError, match=r"training\.layout: the padding probe failed"):
        probe_padding(task_model, examples, cpu, packed=True)


def test_a_document_of_one_token_has_a_place_of_its_own(text_generation: Case) -> None:
    """Its position is followed by another first one, which is a step of zero."""
    model = text_generation.model().eval()
    rows = {"input_ids": torch.tensor([[5, 0, 0], [6, 0, 0], [5, 9, 8]]), "lengths": torch.tensor([1, 1, 3])}
    packed = {**rows, "position_ids": torch.arange(3).repeat(3, 1)}
    with torch.no_grad():
        apart, together = hidden_states(model.model, rows), hidden_states(model.model, packed)
    assert TEXT_GENERATION.max_length > 3
    for row, length in enumerate(rows["lengths"]):
        torch.testing.assert_close(apart[row, :length], together[row, :length], rtol=0, atol=1e-5)
