"""Model folders of every kind, made from the tiny Llama; used by the tests beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from llama_experiments.models.base import Loaded
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.checkpoint_files import INDEX, SINGLE, weight_files
from llama_experiments.runs.folder import RunFolder
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.base import Technique

SENTIMENT = SequenceClassification(labels=["negative", "positive"], max_length=64)
THREE = SequenceClassification(labels=["negative", "neutral", "positive"], max_length=64)
TEXT = TextGeneration(max_length=64)
TASKS = [SENTIMENT, TEXT]

Tensors = dict[str, torch.Tensor]


def load(folder: Path, task: Task, seed: int = 0, **settings: Any) -> Loaded:
    """As a run loads it."""
    return Checkpoint(checkpoint=str(folder), **settings).load(task, seed)


def stored(folder: Path) -> Tensors:
    """Every tensor of a folder, as its files have it."""
    return {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}


def store(folder: Path, tensors: Tensors, files: int = 1) -> None:
    """Replace a folder's weights by `tensors`, in one file or in several with their index."""
    for old in weight_files(folder):
        old.unlink()
    (folder / INDEX).unlink(missing_ok=True)
    if files == 1:
        save_file(tensors, folder / SINGLE, {"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        save_file({name: tensors[name] for name in names[number::files]}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(names[number::files], file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def change(file: Path, without: tuple[str, ...] = (), **settings: Any) -> None:
    """Change a JSON file's settings; make it when it is missing."""
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({name: value for name, value in old.items() if name not in without} | settings))


def differing(model: torch.nn.Module, tensors: Tensors) -> list[str]:
    """The parameters that are not a tensor of the checkpoint, bit for bit; `model.` may be missing there."""
    return [
        name
        for name, parameter in model.named_parameters()
        if not any(
            known in tensors
            and tensors[known].dtype == parameter.dtype
            and torch.equal(tensors[known].view(torch.uint8), parameter.detach().view(torch.uint8))
            for known in (name, name.removeprefix("model."))
        )
    ]


def as_a_run_saves(loaded: Loaded, folder: Path) -> Path:
    """A model saved by a run in `folder`; returns the model's own folder."""
    from llama_experiments.runs.console import Console
    from llama_experiments.runs.mirror import Mirror
    from llama_experiments.runs.record import Record
    from llama_experiments.runs.tracker import Tracker

    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    mirror = Mirror(Tracker(), folder, lambda _: None)
    Record(run, Console(1), mirror, overrides=[], writes=True).keep_model(
        Technique(), loaded.model, loaded.tokenizer, 64
    )
    return run.model


def token_ids(rows: int = 3, length: int = 40, words: int = 320, seed: int = 0) -> torch.Tensor:
    """Random real tokens, [rows, length]."""
    return torch.randint(3, words, (rows, length), generator=torch.Generator().manual_seed(seed))
