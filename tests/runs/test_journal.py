"""The journal: its fields are an interface, it is on the disk when it says so, and a torn line is no record."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import Journal, read_journal
from tests.runs.conftest import Finished
from tests.runs.made import made_epoch, made_step

EPOCH = [
    "epoch", "train_loss", "eval_loss", "items", "metrics", "learning_rate", "examples", "tokens", "seconds", "time",
]  # fmt: skip
STEP = [
    "step", "epoch", "examples_hash", "loss_sum", "count", "learning_rate", "gradient_norm", "tokens",
    "micro_batch_size", "skipped", "seconds",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def filled(folder: RunFolder) -> Journal:
    """An evaluation, two steps and an epoch."""
    journal = Journal(folder)
    journal.epoch(made_epoch(0, None, 0.7, {"accuracy": 0.5}))
    journal.step(made_step(1))
    journal.step(made_step(2, loss=3.0))
    journal.epoch(made_epoch(1, 0.4375, 0.5, {"accuracy": 0.75}))
    return journal


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


def test_the_fields_of_an_epoch(folder: RunFolder) -> None:
    before = int(time.time() * 1000)
    filled(folder).close()
    first, second = read_journal(folder.epochs)
    assert [list(first), list(second)] == [EPOCH, EPOCH]
    assert before <= first["time"] <= second["time"] <= time.time() * 1000
    told = {key: value for key, value in second.items() if key != "time"}
    assert told == {
        "epoch": 1,
        "train_loss": 0.4375,
        "eval_loss": 0.5,
        "items": 4,
        "metrics": {"accuracy": 0.75},
        "learning_rate": 1e-3,
        "examples": 24,
        "tokens": 300,
        "seconds": 1.5,
    }
    assert '"train_loss": null' in folder.epochs.read_text().splitlines()[0]
    assert (first["train_loss"], first["learning_rate"], first["examples"], first["tokens"]) == (None, None, 0, 0)


def test_the_fields_of_a_step(folder: RunFolder) -> None:
    filled(folder).close()
    first, second = read_journal(folder.steps)
    assert list(first) == [*STEP, "time"]
    assert [first[key] for key in STEP] == [1, 1, "0000000000000001", 4.0, 8, 1e-3, 2.5, 100, 8, False, 0.1]
    assert (second["step"], second["loss_sum"]) == (2, 3.0)


def test_the_journal_says_what_was_recorded(folder: RunFolder) -> None:
    journal = Journal(folder)
    steps = [journal.step(made_step(number)) for number in (1, 2)]
    epoch = journal.epoch(made_epoch(1, 0.1, 0.2))
    assert read_journal(folder.steps) == steps
    assert read_journal(folder.epochs) == [epoch]


def test_an_epoch_without_an_evaluation(folder: RunFolder) -> None:
    record = Journal(folder).epoch(made_epoch(1, 0.3, None))
    assert (record["eval_loss"], record["metrics"]) == (None, {})


def test_a_loss_keeps_every_bit(folder: RunFolder) -> None:
    loss = math.fsum([0.1] * 7) / 3
    Journal(folder).epoch(made_epoch(1, loss, loss / 7))
    assert read_journal(folder.epochs)[0]["train_loss"] == loss
    assert read_journal(folder.epochs)[0]["eval_loss"] == loss / 7


def test_what_is_no_number_is_a_word(folder: RunFolder) -> None:
    journal = Journal(folder)
    journal.epoch(made_epoch(1, math.inf, math.nan, {"perplexity": math.inf}))
    journal.step(made_step(1, gradient_norm=-math.inf))
    epoch = json.loads(folder.epochs.read_text(), parse_constant=refuse)
    assert (epoch["train_loss"], epoch["eval_loss"], epoch["metrics"]) == ("inf", "nan", {"perplexity": "inf"})
    assert json.loads(folder.steps.read_text(), parse_constant=refuse)["gradient_norm"] == "-inf"


def test_a_step_can_be_read_at_once(folder: RunFolder) -> None:
    journal = Journal(folder)
    for number in (1, 2, 3):
        journal.step(made_step(number))
        assert [record["step"] for record in read_journal(folder.steps)] == list(range(1, number + 1))


def test_an_epoch_is_synced_with_its_steps(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: dict[int, int] = {}  # inode -> bytes in the file when it was last synced

    def note(descriptor: int) -> None:
        stat = os.fstat(descriptor)
        synced[stat.st_ino] = stat.st_size

    monkeypatch.setattr(os, "fsync", note)
    filled(folder)
    for file in (folder.epochs, folder.steps):
        stat = file.stat()
        assert synced[stat.st_ino] == stat.st_size > 0


@pytest.mark.parametrize("name", ["epochs", "steps"])
def test_a_torn_last_line_is_no_record(folder: RunFolder, name: str) -> None:
    filled(folder).close()
    file: Path = getattr(folder, name)
    content = file.read_bytes()
    whole = read_journal(file)
    assert len(whole) == 2
    for end in range(len(content) + 1):
        file.write_bytes(content[:end])
        assert read_journal(file) == whole[: content[:end].count(b"\n")]


def test_a_journal_is_continued_not_begun_again(folder: RunFolder) -> None:
    filled(folder).close()
    again = Journal(folder)
    again.epoch(made_epoch(2, 0.2, 0.3))
    assert [record["epoch"] for record in read_journal(folder.epochs)] == [0, 1, 2]
    assert len(read_journal(folder.steps)) == 2


def test_the_journal_of_a_run(finished: Finished) -> None:
    epochs, steps = read_journal(finished.folder.epochs), read_journal(finished.folder.steps)
    assert [list(epoch) for epoch in epochs] == [EPOCH] * 3
    assert [epoch["epoch"] for epoch in epochs] == [0, 1, 2]
    assert [step["step"] for step in steps] == list(range(1, 13))  # 48 examples, batches of 8, two epochs
    for epoch in epochs[1:]:
        own: list[dict[str, Any]] = [step for step in steps if step["epoch"] == epoch["epoch"]]
        mean = math.fsum(step["loss_sum"] for step in own) / sum(step["count"] for step in own)
        assert epoch["train_loss"] == mean
        assert epoch["examples"] == sum(step["count"] for step in own) == 48
        assert epoch["tokens"] == sum(step["tokens"] for step in own)
        assert epoch["learning_rate"] == own[-1]["learning_rate"]
        assert epoch["seconds"] >= sum(step["seconds"] for step in own)
        assert len({step["examples_hash"] for step in own}) == 6
