"""A trained start against a random one: where paths come down to a loss, and what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.sweeps.transfer import Start, _claims
from tests.conftest import Command

TRAINED = Start("trained", {100: 0.5, 200: 0.4, 400: 0.2}, [(0.0, 0.7), (2.0, 0.3), (4.0, 0.2)])
RANDOM = Start("random", {100: 0.7, 200: 0.6, 400: 0.45}, [(0.0, 0.7), (2.0, 0.6), (4.0, 0.45)])


def test_where_a_path_comes_down_to_a_loss() -> None:
    assert TRAINED.seconds_to(0.5) == pytest.approx(1.0)
    assert TRAINED.seconds_to(0.7) == 0.0
    assert TRAINED.seconds_to(0.1) is None
    assert TRAINED.rows_to(0.45) == pytest.approx((100 * 200) ** 0.5)
    assert RANDOM.rows_to(0.45) == pytest.approx(400)
    assert RANDOM.rows_to(0.3) is None


def test_the_three_claims() -> None:
    at_equal_data, data_to_equal_loss, time_to_loss = _claims(TRAINED, RANDOM)
    assert "At 400 rows the lowest loss is 0.2000 from trained and 0.4500 from random" in at_equal_data
    assert "For 0.4500" in data_to_equal_loss
    assert "about 141 rows are enough to trained" in data_to_equal_loss
    assert "With 400 rows trained is at 0.4500 after 1.2 s, random after 4.0 s" in time_to_loss


def test_a_start_that_never_gets_there_is_told() -> None:
    assert any("never comes down to 0.2000" in line for line in _claims(RANDOM, TRAINED))


def test_the_preset(command: Command, local_run: list[str], tmp_path: Path) -> None:
    """On the tiny model against itself: the same losses, so no difference."""
    mine = [override for override in local_run if not override.startswith("model")]
    done = command(
        "experiment=transfer", *mine, "dataset.train_examples=16,32", "training.epochs=2", "tuning=null",
        "model.learning_rate=3e-3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("outputs/*/*-transfer-sentiment/transfer.md")
    rows = [line for line in written.read_text().splitlines() if line.startswith(("| 16", "| 32"))]
    assert len(rows) == 2
    assert (written.parent / "transfer.png").exists()
    assert "With 32 rows" in written.read_text() or "never" in written.read_text()
