"""A checkpoint: all that the next step depends on, in files that are read without unpickling anything.

    weights.safetensors     the parameters that move, by name
    optimizer.safetensors   the optimizer's tensors, as name|key
    state.json              the place, the optimizer's numbers, the loss scaler, and the hashes of the two files

Random draws are functions of the step's number, and the schedule of it too: neither has a state.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from llama_experiments.files import hash_of_file, replaced_folder, write_text
from llama_experiments.models.shards import is_share, put, reshard, shared_out, whole

FORMAT = 1
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
NAME = re.compile(r"step-(\d+)(-evaluated)?")


class Damaged(Exception):
    """A checkpoint that is not whole; the message says what is wrong with it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sums:
    """What an epoch has added up so far."""

    loss: float = 0.0  # nats
    count: int = 0  # items
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    learning_rate: float | None = None  # of the last step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """How far a run has come."""

    steps: int = 0  # optimizer steps made
    recorded: int = -1  # the last epoch whose end is in the journal
    sums: Sums = Sums()  # of the epoch that it is in
    micro_batch_size: int | None = None  # smaller than the setting's where memory was short
    skipped: int = 0  # steps whose gradient was no number


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, and the place it was taken at."""

    folder: Path
    place: Place


def save_checkpoint(
    parent: Path,
    place: Place,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    *,
    writes: bool = True,
) -> Checkpoint:
    """Write a checkpoint below `parent`: beside, synced, renamed.

    Of weights that are shared out every process gives its share, and the one that `writes` has them whole.
    """
    # Two may be of one step: before the evaluation that ends its epoch, and after it.
    evaluated = "-evaluated" if place.sums == Sums() else ""
    folder = parent / f"step-{place.steps:08}{evaluated}"
    reshard(model)
    tensors, numbers = _optimizer_state(model, optimizer)
    weights, tensors = (_gathered(shares, keep=writes) for shares in (_moving(model, optimizer), tensors))
    if not writes:
        return Checkpoint(folder, place)
    with replaced_folder(folder) as beside:
        save_file(_to_save(weights), beside / WEIGHTS)
        save_file(_to_save(tensors), beside / OPTIMIZER)
        state = {
            "format": FORMAT,
            "place": dataclasses.asdict(place),
            "groups": _group_names(model, optimizer),
            "numbers": numbers,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "files": {name: hash_of_file(beside / name) for name in (WEIGHTS, OPTIMIZER)},
        }
        write_text(beside / STATE, json.dumps({"state": state, "hash": _hash(state)}, indent=1) + "\n")
    return Checkpoint(folder, place)


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint's place, once all of it has been compared with its hashes.

    Raises:
        Damaged: it is not whole.
    """
    state = _state(folder)
    for name, wanted in state["files"].items():
        if not (folder / name).is_file() or hash_of_file(folder / name) != wanted:
            raise Damaged(f"{name} is not what was written")
    told = state["place"]
    return Checkpoint(folder, Place(**told | {"sums": Sums(**told["sums"])}))


def load_checkpoint(
    checkpoint: Checkpoint,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
) -> None:
    """Put weights, optimizer and scaler back, to the bit.

    Raises:
        Damaged: it is of other parameters.
    """
    reshard(model)
    state = _state(checkpoint.folder)
    if state["groups"] != _group_names(model, optimizer):
        raise Damaged("it is of a model or technique with other parameters")
    weights = load_file(checkpoint.folder / WEIGHTS)
    parameters = _moving(model, optimizer)
    for name, parameter in parameters.items():
        put(weights[name], parameter)
    kept: dict[str, dict[str, Any]] = {name: dict(numbers) for name, numbers in state["numbers"].items()}
    for key, tensor in load_file(checkpoint.folder / OPTIMIZER).items():
        name, _, what = key.rpartition("|")
        kept.setdefault(name, {})[what] = shared_out(tensor, parameters[name])
    order = [name for names in state["groups"] for name in names]
    # The groups' own settings come from the config; what is loaded is what training has made.
    own = optimizer.state_dict()["param_groups"]
    states = {position: kept[name] for position, name in enumerate(order) if name in kept}
    optimizer.load_state_dict({"state": states, "param_groups": own})
    if scaler is not None and state["scaler"] is not None:
        scaler.load_state_dict(state["scaler"])


def _state(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / STATE).read_text(encoding="utf-8"))
        state: dict[str, Any] = told["state"]
        whole = told["hash"] == _hash(state)
    except FileNotFoundError as error:
        raise Damaged(f"it has no {STATE}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{STATE} cannot be read") from error
    if not whole:
        raise Damaged(f"{STATE} is not what was written")
    if state["format"] != FORMAT:
        raise Damaged(f"its format is {state['format']}, and this version reads {FORMAT}")
    return state


def _hash(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _names(model: torch.nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def _group_names(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    names = _names(model)
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def _moving(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    names = _names(model)
    return {names[id(parameter)]: parameter for group in optimizer.param_groups for parameter in group["params"]}


def _optimizer_state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """Its tensors as `name|key`, and what else it keeps of each parameter."""
    names = [name for group in _group_names(model, optimizer) for name in group]
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for position, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{names[position]}|{key}"] = value
            else:
                numbers.setdefault(names[position], {})[key] = value
    return tensors, numbers


def _gathered(shares: dict[str, torch.Tensor], *, keep: bool) -> dict[str, torch.Tensor]:
    """Each whole, one after another, so that a process that does not keep them never has all."""
    gathered = {}
    for name, share in shares.items():
        tensor = whole(share)
        if keep:
            gathered[name] = tensor.cpu() if is_share(share) else tensor
    return gathered


def _to_save(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each with memory of its own, as the format wants it."""
    seen: set[int] = set()
    ready = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().contiguous()
        shared = plain.data_ptr() in seen
        seen.add(plain.data_ptr())
        ready[name] = plain.clone() if shared else plain
    return ready
