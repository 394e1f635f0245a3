"""Printed losses beside a run's own."""

from __future__ import annotations

import pytest

from llama_experiments.errors import SettingError
from llama_experiments.runs.reference import Reference


def test_own_losses_stand_beside_the_printed_ones() -> None:
    reference = Reference(dataset="owner/name", train_loss=[2.0, 1.0], eval_loss=[2.5, 1.5])
    epochs = [
        {"epoch": 0, "train_loss": None, "eval_loss": 4.0},
        {"epoch": 1, "train_loss": 1.25, "eval_loss": 3.0},
    ]
    table = reference.table(epochs)
    assert table[0] == "Losses beside those on owner/name as printed in the chapter, unverified:"
    assert table[-2:] == ["| 1 | 1.2500 | 2.0 | 3.0000 | 2.5 |", "| 2 | -- | 1.0 | -- | 1.5 |"]


def test_a_loss_of_each_kind_for_each_epoch() -> None:
    with pytest.raises(SettingError, match="as many values as train_loss"):
        Reference(dataset="owner/name", train_loss=[2.0, 1.0], eval_loss=[2.5])
