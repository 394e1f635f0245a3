"""Bytes of tensors without contents: what lives at once counts, what is gone does not, a mask chooses all."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from llama_experiments.planning.ledger import Ledger

FLOAT = 4


def test_the_highest_point_is_what_lived_at_once() -> None:
    with FakeTensorMode(), Ledger() as ledger:
        first = torch.zeros(1000)
        second = first + 1
        assert ledger.live == ledger.peak == 2 * 1000 * FLOAT
        del first
        assert ledger.live == 1000 * FLOAT
        third = second[:10]  # a view takes nothing
        del second
        assert ledger.live == 1000 * FLOAT  # and keeps what it looks at
        del third
        assert ledger.live == 0
        assert ledger.peak == 2 * 1000 * FLOAT


def test_what_the_backward_pass_needs_is_held_until_it_has_run() -> None:
    with FakeTensorMode():
        weight = torch.nn.Parameter(torch.empty(64, 64))
        with Ledger([weight]) as ledger:
            hidden = torch.zeros(32, 64) @ weight
            loss = (hidden.sigmoid() * 2).sum()
            del hidden
            assert ledger.live >= 2 * 32 * 64 * FLOAT  # the input and the sigmoid
            loss.backward()
            del loss
            assert ledger.live == 64 * 64 * FLOAT  # the gradient
            weight.grad = None
            assert ledger.live == 0


def test_the_known_parameters_and_their_views_are_not_counted() -> None:
    with FakeTensorMode():
        weight = torch.nn.Parameter(torch.empty(64, 64))
        with Ledger([weight]) as ledger:
            turned = weight.t()
            assert ledger.peak == 0
            del turned


def test_a_mask_is_taken_to_choose_all() -> None:
    with FakeTensorMode(), Ledger() as ledger:
        hidden = torch.zeros(4, 8, 16, requires_grad=True)
        chosen = hidden[:, :-1][torch.zeros(4, 7, dtype=torch.bool)]
        assert chosen.shape == (28, 16)
        chosen.sum().backward()
        assert hidden.grad is not None
        assert ledger.peak >= 2 * hidden.numel() * FLOAT
