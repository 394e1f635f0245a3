"""The optimizer's groups: who decays, at which rate."""

from __future__ import annotations

import pytest
import torch

from llama_experiments.techniques.base import ParameterGroup, Technique
from llama_experiments.training.optimization import make_optimizer, set_rates
from llama_experiments.training.settings import Training
from tests.training.conftest import Case

CPU = torch.device("cpu")
TRAINING = Training(learning_rate=0.1, weight_decay=0.5)


def parameter(*shape: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(shape))


def test_norms_do_not_decay_and_matrices_do(case: Case) -> None:
    model = case.model()
    optimizer = make_optimizer(Technique().parameter_groups(model), TRAINING, CPU)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert (
        sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters())) == len(decay)
    )
    decays = {name: decay[id(p)] for name, p in model.named_parameters()}
    assert {name for name, value in decays.items() if value == 0.0} == {name for name in decays if "norm" in name}
    assert set(decays.values()) == {0.0, 0.5}


def test_biases_do_not_decay() -> None:
    head = torch.nn.Linear(3, 2)
    optimizer = make_optimizer([ParameterGroup("head", list(head.parameters()))], TRAINING, CPU)
    assert [(group["params"], group["weight_decay"]) for group in optimizer.param_groups] == [
        ([head.weight], 0.5),
        ([head.bias], 0.0),
    ]


def test_a_step_without_gradient_is_decay_alone() -> None:
    """Decoupled: by the rate times the decay, not through Adam's moments."""
    matrix, vector = parameter(2, 2), parameter(2)
    optimizer = make_optimizer([ParameterGroup("all", [matrix, vector])], TRAINING, CPU)
    set_rates(optimizer, 0.5)
    for moved in (matrix, vector):
        moved.grad = torch.zeros_like(moved)
    optimizer.step()
    torch.testing.assert_close(matrix.data, torch.full((2, 2), 1 - 0.1 * 0.5 * 0.5))
    assert torch.equal(vector.data, torch.ones(2))


def test_groups_keep_their_multiples_of_the_rate() -> None:
    slow, fast = ParameterGroup("slow", [parameter(2, 2)], 0.1), ParameterGroup("fast", [parameter(3)], 2.0)
    optimizer = make_optimizer([slow, fast], TRAINING, CPU)
    for factor in (1.0, 0.25, 0.5):  # each from the peak, not from the last
        assert set_rates(optimizer, factor) == pytest.approx(0.2 * factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01 * factor, 0.2 * factor])


def test_no_group_is_empty() -> None:
    optimizer = make_optimizer([ParameterGroup("matrices", [parameter(2, 2)])], TRAINING, CPU)
    assert len(optimizer.param_groups) == 1
