"""What moved, and which rates were tried, as the report tells it."""

from __future__ import annotations

import math

import pytest

from llama_experiments.runs.movement_report import movement_section, tuning_section
from llama_experiments.techniques.proof import Tensor
from llama_experiments.training.tuning import Attempt


def tensor(name: str, parameters: int, multiplier: float | None, *, moved: bool | None = None) -> Tensor:
    """A tensor; unless told otherwise it moved if it might."""
    moved = multiplier is not None if moved is None else moved
    return Tensor(name, parameters, multiplier, "before", "after" if moved else "before")


TRUNK = [
    tensor("model.embed_tokens.weight", 98_304, None),
    tensor("model.layers.0.mlp.up_proj.weight", 24_576, None),
    tensor("model.layers.1.mlp.up_proj.weight", 24_576, 0.5),
    tensor("model.layers.1.input_layernorm.weight", 96, 0.5),
    tensor("model.norm.weight", 96, 1.0),
]
HEAD = tensor("score.weight", 192, 3.0)
COLUMNS = "| part | parameters | that may move | peak rate | tensors that moved | that did not |"


def table(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("|")]


def test_a_row_for_each_part_from_the_head_down() -> None:
    lines = movement_section([*TRUNK, HEAD], 2e-5)
    assert lines[0] == "## What moved"
    assert table(lines) == [
        COLUMNS,
        "|---|---:|---:|---:|---:|---:|",
        "| head | 192 | 192 | 6e-05 | 1 | 0 |",
        "| final norm | 96 | 96 | 2e-05 | 1 | 0 |",
        "| layer 1 | 24,672 | 24,672 | 1e-05 | 2 | 0 |",
        "| layer 0 | 24,576 | 0 | -- | 0 | 1 |",
        "| embeddings | 98,304 | 0 | -- | 0 | 1 |",
    ]


def test_a_part_that_is_open_in_part_and_at_several_rates() -> None:
    layer = [
        tensor("model.layers.0.self_attn.q_proj.base_layer.weight", 1000, None),
        tensor("model.layers.0.self_attn.q_proj.lora_A.default.weight", 80, 1.0),
        tensor("model.layers.0.self_attn.q_proj.lora_B.default.weight", 80, 0.25),
        tensor("model.layers.0.mlp.up_proj.lora_A.default.weight", 80, 0.5),
    ]
    assert table(movement_section(layer, 1e-3))[2:] == ["| layer 0 | 1,240 | 240 | 0.00025 to 0.001 | 3 | 1 |"]


def test_embeddings_that_are_the_head_too_are_called_so() -> None:
    tied = table(movement_section(TRUNK, 1e-3))
    assert tied[-1].startswith("| embeddings, the head too | 98,304 |")
    assert not any(row.startswith("| head ") for row in tied)


FROZEN = [tensor(f"model.layers.{layer}.mlp.up_proj.weight", 9, None) for layer in range(3)]
MOVING = [tensor(f"model.layers.{layer}.mlp.down_proj.weight", 9, 1.0) for layer in range(5)]
STILL = [tensor(f"model.layers.{layer}.input_layernorm.weight", 9, 1e-6, moved=False) for layer in range(5)]


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ([*FROZEN, *MOVING], "no bit of the 3 that were frozen moved, and all 5 that may move did."),
        ([*FROZEN, HEAD], "no bit of the 3 that were frozen moved, and the one that may move did."),
        ([*FROZEN[:1], *MOVING], "no bit of the one that was frozen moved, and all 5 that may move did."),
        (MOVING, "all 5 that may move did."),
        (FROZEN, "no bit of the 3 that were frozen moved, and none may move."),
        (
            [*MOVING, *STILL[:1]],
            "1 of the 6 that may move did not, in steps that were too few or below their rounding: "
            "model.layers.0.input_layernorm.weight.",
        ),
        (
            [*FROZEN, *MOVING, *STILL],
            "no bit of the 3 that were frozen moved, and 5 of the 10 that may move did not, in steps that were too "
            "few or below their rounding: model.layers.0.input_layernorm.weight, "
            "model.layers.1.input_layernorm.weight, model.layers.2.input_layernorm.weight and 2 more.",
        ),
    ],
)
def test_the_verdict(tensors: list[Tensor], told: str) -> None:
    expected = f"By the tensors' hashes before and after, {told} Each hash is in [movement.json](movement.json)."
    assert movement_section(tensors, 1e-3)[-1] == expected


def test_the_picture_is_shown_where_there_is_one() -> None:
    assert "](rates.png)" in movement_section([HEAD], 1e-3, pictured=True)[-1]
    assert not any("rates.png" in line for line in movement_section([HEAD], 1e-3))


LOW, MIDDLE, HIGH = Attempt(3e-4, 0.5, 1.25), Attempt(1e-3, 0.4, 1.0), Attempt(3e-3, math.inf, 0.5)
EDGE = "It is at the edge of what was tried: a better one may lie beyond (`tuning.multipliers`)."


def test_the_rates_that_were_tried_with_the_chosen_one_marked() -> None:
    lines = tuning_section([LOW, MIDDLE, HIGH], 1e-3)
    assert lines[0] == "## The learning rate"
    assert table(lines)[2:] == [
        "| 0.0003 | 0.5000 | 1.2 |",
        "| **0.001** | **0.4000** | 1.0 |",
        "| 0.003 | diverged | 0.5 |",
    ]
    assert lines[-1].startswith("Chosen on a part of the training rows that was held out for this;")


@pytest.mark.parametrize(
    ("attempts", "chosen", "edge"),
    [
        ([LOW, MIDDLE, HIGH], MIDDLE, False),
        ([LOW, MIDDLE, HIGH], LOW, True),
        ([LOW, MIDDLE], MIDDLE, True),
        ([MIDDLE], MIDDLE, False),  # one rate has no edge
    ],
)
def test_a_choice_at_the_edge_is_told(attempts: list[Attempt], chosen: Attempt, edge: bool) -> None:
    assert tuning_section(attempts, chosen.learning_rate)[-1].endswith(EDGE) == edge
