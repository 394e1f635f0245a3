"""FSDP2 on CPUs: each process has a share of the weights, and all else is as in one process."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llama_experiments.errors import UserError
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.settings import Training
from tests.training.launched import ALONE, SENTIMENT, TEXT_GENERATION, Commands, Done, assert_same_numbers

SHARDED = ["training.processes=2", "training.sharding=fsdp"]
LORA = ["technique=lora", "technique.merge=true"]


def proof(done: Done) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done.run.movement.read_text())
    return told


@pytest.fixture(scope="module")
def sharded(commands: Commands) -> Done:
    return commands.run(ALONE, "sharded", *SENTIMENT, *SHARDED, "training.evaluation_batch_size=8")


def test_shares_give_the_numbers_of_one_process(alone: Done, sharded: Done) -> None:
    """Of the evaluation's four batches, and of a step of one example, the processes have uneven numbers."""
    assert "2 processes, each with a share of the weights (FSDP2)" in sharded.output
    assert_same_numbers(alone, sharded)


def test_what_moved_is_proved_on_whole_tensors(alone: Done, sharded: Done) -> None:
    ours, theirs = proof(alone), proof(sharded)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor["before"] == theirs[name]["before"], name
        assert tensor["parameters"] == theirs[name]["parameters"]
        assert tensor["moved"] is theirs[name]["moved"] is True


def test_plain_transformers_loads_the_model(sharded: Done) -> None:
    from transformers import AutoModelForSequenceClassification

    model, told = AutoModelForSequenceClassification.from_pretrained(sharded.run.model, output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    saved = load_file(sharded.run.model / "model.safetensors")
    assert torch.equal(model.score.weight, saved["score.weight"])


def test_tied_weights_stay_one_tensor_and_all_write_the_same(commands: Commands) -> None:
    """The language model's embeddings are its head: shared out once, moved once, saved once."""
    one = commands.run(ALONE, "tied_alone", *TEXT_GENERATION, "task.sample_temperature=0")
    two = commands.run(ALONE, "tied", *TEXT_GENERATION, *SHARDED, "task.sample_temperature=0")
    assert_same_numbers(one, two)
    assert one.run.samples.read_text() == two.run.samples.read_text()


def test_lora_shares_its_frozen_trunk_out_too(commands: Commands) -> None:
    one = commands.run(ALONE, "lora_alone", *SENTIMENT, *LORA)
    two = commands.run(ALONE, "lora", *SENTIMENT, *LORA, *SHARDED)
    assert_same_numbers(one, two)
    for name, tensor in proof(two).items():
        assert tensor["moved"] == (".lora_" in name or ".modules_to_save." in name), name
    ours, theirs = (load_file(done.run.adapter / "adapter_model.safetensors") for done in (one, two))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("then", [SHARDED, ["training.processes=1", "training.sharding=none"]], ids=["two", "one"])
def test_a_stopped_run_goes_on_from_whole_tensors(then: list[str], commands: Commands, alone: Done) -> None:
    """With shares again, or in one process without."""
    outputs = f"stopped-{then[0][-1]}"
    stopped = commands.run(ALONE, outputs, *SENTIMENT, *SHARDED, interrupt="1:5:SIGTERM", status=128 + signal.SIGTERM)
    (checkpoint,) = stopped.run.checkpoints.iterdir()
    weights = load_file(checkpoint / "weights.safetensors")
    whole = load_file(alone.run.model / "model.safetensors")
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        f"model.{name}": tensor.shape for name, tensor in whole.items()
    }
    done = commands.resumed(stopped, *then)
    assert "going on from step 5" in done.output
    assert_same_numbers(alone, done)


def test_one_process_has_nothing_to_share() -> None:
    """What Accelerate would silently replace."""
    with pytest.raises(UserError, match=r"training\.sharding: fsdp was asked for, and Accelerate does not give it"):
        make_accelerator(Training(learning_rate=1e-3, sharding="fsdp"))
    assert not make_accelerator(Training(learning_rate=1e-3)).is_fsdp2
