"""A checkpoint gives back to the bit what it was made of, and says when it is not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llama_experiments.training.checkpoint import (
    Damaged,
    Place,
    Sums,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

PLACE = Place(
    steps=7,
    recorded=1,
    sums=Sums(loss=1 / 3, count=5, examples=9, tokens=70, seconds=0.1 + 0.2, learning_rate=1e-5 / 3),
    micro_batch_size=2,
    skipped=1,
)


class Tied(torch.nn.Module):
    """An embedding that is the head, too, in several types; one parameter that does not move."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = torch.nn.Embedding(11, 4)
        self.middle = torch.nn.Linear(4, 4, dtype=torch.bfloat16)
        self.frozen = torch.nn.Linear(4, 4).requires_grad_(False)
        self.head = torch.nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        inner = self.middle(self.frozen(self.embedding(ids)).bfloat16()).float()
        scores: torch.Tensor = self.head(torch.nn.functional.dropout(inner, 0.1))
        return scores


class Scaler:
    """What fp16's scaler keeps, without the GPU that it wants."""

    def __init__(self, scale: float) -> None:
        self.kept: dict[str, Any] = {"scale": scale, "growth_factor": 2.0, "_growth_tracker": 17}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.kept)

    def load_state_dict(self, told: dict[str, Any]) -> None:
        self.kept = told


def made(seed: int) -> tuple[Tied, torch.optim.Optimizer]:
    model = Tied(seed)
    decays, not_decays = [model.embedding.weight, model.middle.weight], [model.middle.bias]
    groups = [{"params": decays, "weight_decay": 0.1, "lr": 1e-2}, {"params": not_decays, "lr": 3e-3}]
    return model, torch.optim.AdamW(groups)


def train(model: Tied, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        scores = model(torch.arange(11))
        torch.nn.functional.cross_entropy(scores, torch.arange(11).roll(1)).backward()
        optimizer.step()
        optimizer.zero_grad()


def bits(model: Tied, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    tensors: dict[str, Any] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for position, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{position} {key}": value.clone() for key, value in state.items()}
    return tensors


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    model, optimizer = made(0)
    train(model, optimizer, range(5))
    saved = save_checkpoint(tmp_path, PLACE, model, optimizer, Scaler(1024.5))  # type: ignore[arg-type]
    train(model, optimizer, range(5, 9))

    other, its_optimizer = made(0)
    scaler = Scaler(1.0)
    found = read_checkpoint(saved.folder)
    assert found == saved
    assert found.place == PLACE  # numbers of JSON are those that were written, to the bit
    load_checkpoint(found, other, its_optimizer, scaler)  # type: ignore[arg-type]
    assert scaler.kept == Scaler(1024.5).kept
    assert other.head.weight is other.embedding.weight
    assert not equal(bits(other, its_optimizer), bits(model, optimizer))
    train(other, its_optimizer, range(5, 9))
    assert equal(bits(other, its_optimizer), bits(model, optimizer))


def test_tied_and_frozen_weights_are_not_kept_twice(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model, optimizer = made(0)
    train(model, optimizer, range(1))
    folder = save_checkpoint(tmp_path, PLACE, model, optimizer, None).folder
    kept = load_file(folder / "weights.safetensors")
    assert set(kept) == {"embedding.weight", "middle.weight", "middle.bias"}
    assert kept["middle.weight"].dtype is torch.bfloat16


def test_settings_are_the_configs_not_the_checkpoints(tmp_path: Path) -> None:
    """A resumed run's rates and decay come from its config; the checkpoint has what training has made."""
    model, optimizer = made(0)
    train(model, optimizer, range(2))
    optimizer.param_groups[0]["lr"] = 0.5
    saved = save_checkpoint(tmp_path, PLACE, model, optimizer, None)
    other, its_optimizer = made(0)
    load_checkpoint(saved, other, its_optimizer, None)
    assert [group["lr"] for group in its_optimizer.param_groups] == [1e-2, 3e-3]


def test_lora_comes_back_to_the_bit(model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    from llama_experiments.techniques.lora import LoRA

    def adapted(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        technique = LoRA(rank=2)
        torch.manual_seed(seed)
        loaded = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=2)
        model = technique.adapt_model(loaded, seed)
        groups = technique.parameter_groups(model)
        return model, torch.optim.AdamW([{"params": group.parameters} for group in groups], lr=1e-2)

    def stepped(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        loss = model(input_ids=torch.tensor([[5, 9, 7]]), labels=torch.tensor([1])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = adapted(0)
    stepped(model, optimizer)
    saved = save_checkpoint(tmp_path, PLACE, model, optimizer, None)
    stepped(model, optimizer)
    other, its_optimizer = adapted(0)
    load_checkpoint(saved, other, its_optimizer, None)
    stepped(other, its_optimizer)
    assert equal(dict(model.state_dict()), dict(other.state_dict()))


def test_what_is_not_whole_is_said(tmp_path: Path) -> None:
    model, optimizer = made(0)
    train(model, optimizer, range(1))

    def spoilt(what: str) -> Path:
        folder = save_checkpoint(tmp_path / what, PLACE, model, optimizer, None).folder
        assert read_checkpoint(folder).place == PLACE
        return folder

    (spoilt("gone") / "optimizer.safetensors").unlink()
    (spoilt("short") / "weights.safetensors").write_bytes(b"")
    (spoilt("none") / "state.json").unlink()
    (spoilt("torn") / "state.json").write_text('{"state": {"for')
    told = spoilt("place") / "state.json"
    state = json.loads(told.read_text())
    state["state"]["place"]["steps"] = 3
    told.write_text(json.dumps(state))
    for what, says in {
        "gone": "optimizer.safetensors is not what was written",
        "short": "weights.safetensors is not what was written",
        "none": "has no state.json",
        "torn": "state.json cannot be read",
        "place": "state.json is not what was written",
    }.items():
        with pytest.raises(Damaged, match=says):
            read_checkpoint(next((tmp_path / what).iterdir()))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    model, optimizer = made(0)
    saved = save_checkpoint(tmp_path, PLACE, model, optimizer, None)
    other = Tied(0)
    with pytest.raises(Damaged, match="other parameters"):
        load_checkpoint(saved, other, torch.optim.AdamW(other.parameters()), None)


def test_two_checkpoints_of_one_step_are_two_folders(tmp_path: Path) -> None:
    """Before the evaluation that ends an epoch, and after it."""
    model, optimizer = made(0)
    before = save_checkpoint(tmp_path, PLACE, model, optimizer, None)
    after = save_checkpoint(tmp_path, Place(steps=7, recorded=2), model, optimizer, None)
    assert [before.folder.name, after.folder.name] == ["step-00000007", "step-00000007-evaluated"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [before.folder.name, after.folder.name]
