"""When checkpoints are taken, and which are kept."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from llama_experiments.errors import UserError
from llama_experiments.training.checkpoint import Place, Sums
from llama_experiments.training.checkpoints import SHARE, Checkpointing, Checkpoints


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("llama_experiments.training.checkpoints.time.monotonic", made)
    return made


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Linear(3, 2)


def checkpoints(folder: Path, **settings: object) -> Checkpoints:
    return Checkpoints(folder, Checkpointing(**settings), Accelerator(cpu=True))  # type: ignore[arg-type]


def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters())


def test_by_steps(tmp_path: Path) -> None:
    made = checkpoints(tmp_path, every_steps=3, every_minutes=None)
    assert [step for step in range(1, 11) if made.due(step)] == [3, 6, 9]


def test_never(tmp_path: Path, clock: Clock) -> None:
    made = checkpoints(tmp_path, every_minutes=None)
    clock.now += 1e9
    assert not any(made.due(step) for step in range(1, 100))


@pytest.mark.parametrize("cost", [0.01, 1.0, 30.0])
def test_by_the_clock_they_take_less_than_their_share(
    cost: float, tmp_path: Path, clock: Clock, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = checkpoints(tmp_path)

    def save(*_: object, writes: bool) -> None:
        clock.now += cost

    monkeypatch.setattr("llama_experiments.training.checkpoint.save_checkpoint", save)
    taken, spent, first = [], 0.0, 0.0
    for step in range(1, 40_000):
        clock.now += 0.5
        if made.due(step):
            began = clock.now
            made.save(Place(steps=step), model, optimizer(model))
            spent += clock.now - began
            first = first or clock.now
            taken.append(began)
    assert len(taken) >= 3
    assert (spent - cost) / (clock.now - first) <= SHARE  # after the first, of which nobody knows what it costs
    pauses = [later - earlier - cost for earlier, later in itertools.pairwise(taken)]
    assert min(pauses) >= 60 - 1e-6  # the interval
    assert max(pauses) <= max(60, cost / SHARE) + 1  # and no more than that


def test_the_newest_are_kept(tmp_path: Path, model: torch.nn.Module) -> None:
    made = checkpoints(tmp_path, keep=3)
    for step in (9, 10, 11, 100):
        made.save(Place(steps=step, sums=Sums(count=1)), model, optimizer(model))
    made.save(Place(steps=100, recorded=4), model, optimizer(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000011",
        "step-00000100",
        "step-00000100-evaluated",
    ]
    found = made.find()
    assert found is not None
    assert found.place == Place(steps=100, recorded=4)
    made.clear()
    assert not tmp_path.exists()


def test_one_place_is_saved_once(tmp_path: Path, model: torch.nn.Module) -> None:
    synced: list[str] = []
    made = Checkpoints(tmp_path, Checkpointing(), Accelerator(cpu=True), before=lambda: synced.append("journal"))
    place = Place(steps=1, sums=Sums(count=1))
    made.save(place, model, optimizer(model))
    made.save(dataclasses.replace(place), model, optimizer(model))
    assert synced == ["journal"]


def test_what_is_damaged_is_passed_over_and_said(tmp_path: Path, model: torch.nn.Module) -> None:
    said: list[str] = []
    made = Checkpoints(tmp_path, Checkpointing(keep=3), Accelerator(cpu=True), warn=said.append)
    for step in (1, 2, 3):
        made.save(Place(steps=step, sums=Sums(count=1)), model, optimizer(model))
    (tmp_path / "step-00000003" / "weights.safetensors").write_bytes(b"nothing")
    (tmp_path / "step-00000002" / "state.json").write_text("{}")
    (tmp_path / "step-9").write_text("a file of somebody's")
    found = made.find()
    assert found is not None
    assert found.place.steps == 1
    assert [line.partition(" (")[0] for line in said] == [
        "the checkpoint step-00000003 is damaged",
        "the checkpoint step-00000002 is damaged",
    ]
    (tmp_path / "step-00000001" / "state.json").unlink()
    assert made.find() is None


def test_the_first_of_a_large_model_is_not_taken_after_a_minute(tmp_path: Path, clock: Clock) -> None:
    """Before anybody knows what one costs, its size tells about it: 72 MB take less than a second, 600 MB six."""
    small, large = checkpoints(tmp_path), checkpoints(tmp_path)
    for made, columns in ((small, 3_000), (large, 25_000)):
        model = torch.nn.Linear(2_000, columns, device="meta")
        made.restore(model, optimizer(model))
    clock.now += 61
    assert small.due(1)
    assert not large.due(1)
    clock.now += 130
    assert not large.due(2)
    clock.now += 20
    assert large.due(3)


@pytest.mark.parametrize("settings", [{"every_steps": 0}, {"every_minutes": 0.0}, {"keep": 0}])
def test_values_that_make_no_sense(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        Checkpointing(**settings)  # type: ignore[arg-type]
