"""What follows from the settings of training: steps, passes and the schedule."""

from __future__ import annotations

import math
from typing import Any

import pytest
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from llama_experiments.errors import SettingError
from llama_experiments.training.settings import Training


def training(**settings: Any) -> Training:
    return Training(**({"learning_rate": 1e-3} | settings))


def factors(steps: int, **settings: Any) -> list[float]:
    return [training(**settings).rate_factor(step, steps) for step in range(steps)]


def test_the_defaults_are_the_tutorials() -> None:
    defaults = training()
    assert (defaults.batch_size, defaults.epochs, defaults.weight_decay) == (8, 3, 0.01)
    assert defaults.evaluate_first
    assert defaults.schedule == "linear"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"warmup_ratio": 0.2}, [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ({"warmup_ratio": 0.41, "schedule": "constant"}, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ({"warmup_ratio": 1.0}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ({"schedule": "constant"}, [1.0] * 10),
        ({"schedule": "cosine"}, [(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]),
    ],
)
def test_the_schedule_of_ten_steps(settings: dict[str, Any], expected: list[float]) -> None:
    assert factors(10, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)],
)
def test_the_schedule_after_the_warm_up_is_transformers_own(schedule: str, theirs: Any, warmup: int) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    their_schedule = theirs(optimizer, warmup, 12)
    expected = []
    for _ in range(12):
        expected.append(their_schedule.get_last_lr()[0])
        optimizer.step()
        their_schedule.step()
    ours = factors(12, schedule=schedule, warmup_ratio=warmup / 12)
    assert ours[warmup:] == pytest.approx(expected[warmup:])
    # Theirs spends the first step on a rate of zero.
    assert ours[: max(0, warmup - 1)] == pytest.approx(expected[1:warmup])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_a_schedule_rises_to_its_peak_and_no_step_is_in_vain(schedule: str, steps: int, warmup_ratio: float) -> None:
    rates = factors(steps, schedule=schedule, warmup_ratio=warmup_ratio)
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1.0
    peak = rates.index(1.0)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize(("examples", "steps"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_the_last_step_of_an_epoch_may_be_small(examples: int, steps: int) -> None:
    assert training(batch_size=8).steps_per_epoch(examples) == steps


@pytest.mark.parametrize(
    ("batch_size", "micro_batch_size", "processes", "expected"),
    [
        (8, None, 1, 8),
        (8, 3, 1, 3),
        (8, 100, 1, 8),
        (8, None, 2, 4),
        (9, None, 2, 5),
        (8, 8, 2, 4),
        (8, 1, 2, 1),
        (2, None, 8, 1),
    ],
)
def test_a_pass_on_one_device(batch_size: int, micro_batch_size: int | None, processes: int, expected: int) -> None:
    chosen = training(batch_size=batch_size, micro_batch_size=micro_batch_size)
    assert chosen.device_micro_batch(processes) == expected


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("learning_rate", [0.0, -1e-3, math.inf, math.nan]),
        ("epochs", [0, -1]),
        ("batch_size", [0, -8]),
        ("micro_batch_size", [0, -1]),
        ("evaluation_batch_size", [0]),
        ("weight_decay", [-0.1, math.inf, math.nan]),
        ("warmup_ratio", [-0.1, 1.1, math.nan]),
        ("max_grad_norm", [0.0, -1.0, math.inf, math.nan]),
        ("evaluate_every", [0]),
    ],
)
def test_values_out_of_range_are_refused_by_name(setting: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(SettingError) as refused:
            training(**{setting: value})
        assert [name for name, _ in refused.value.problems] == [setting]


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(SettingError) as refused:
        training(learning_rate=-1.0, epochs=0, batch_size=0)
    assert [name for name, _ in refused.value.problems] == ["learning_rate", "epochs", "batch_size"]
