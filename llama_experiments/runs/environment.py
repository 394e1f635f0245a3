"""What a run's numbers depend on beside its config: versions, code, device, data, starting weights."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from llama_experiments.data.rows import Rows
from llama_experiments.data.sources import Dataset
from llama_experiments.models.base import Loaded
from llama_experiments.models.hashes import weights_hash
from llama_experiments.training.device import arithmetic

PACKAGES = [
    "llama-experiments",
    "torch",
    "transformers",
    "tokenizers",
    "sentencepiece",
    "datasets",
    "accelerate",
    "peft",
    "bitsandbytes",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "numpy",
]


def describe_environment(
    accelerator: Accelerator,
    rows: dict[str, Rows],
    dataset: Dataset,
    loaded: Loaded,
    hashes: dict[str, str],
) -> dict[str, Any]:
    """The contents of `environment.json`; `hashes` are of the starting weights, by tensor."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": describe_versions(),
        "git": _code(),
        "device": describe_device(accelerator),
        "data": {
            part: {
                "source": part_rows.where,
                "files": [str(path.resolve()) for path in dataset.files(part)],
                "rows": len(part_rows),
                "left_out": part_rows.left_out,
                "hash": part_rows.content_hash,
            }
            for part, part_rows in rows.items()
        },
        "model": {
            "name": loaded.name,
            "starting_weights_hash": weights_hash(hashes),
            "fresh": loaded.fresh if loaded.name != "from scratch" else "all",
            "left_over": loaded.left_over,
            "pad_token_id": loaded.model.config.pad_token_id,
            "attention": loaded.model.config._attn_implementation,
        },
    }


def describe_versions() -> dict[str, str | None]:
    """Python's, and of the packages that numbers depend on; None where one is not installed."""
    return dict(_versions())


def describe_device(accelerator: Accelerator) -> dict[str, Any]:
    """The device and the arithmetic."""
    on_gpu = accelerator.device.type == "cuda"
    return {
        "type": accelerator.device.type,
        "name": torch.cuda.get_device_name(accelerator.device)
        if on_gpu
        else platform.processor() or platform.machine(),
        "processes": accelerator.num_processes,
        "sharding": "fsdp" if accelerator.is_fsdp2 else "none",
        "threads": torch.get_num_threads(),
        "precision": arithmetic(accelerator),
    }


@functools.cache
def _code() -> dict[str, Any] | None:
    """This code's state when the process first asked: what it has loaded by then is what runs in all its jobs."""
    return git_state(Path(__file__).parent)


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the code and whether files differ from it; None outside a checkout of this project."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=True)
        return done.stdout.strip()

    try:
        # A virtual environment inside somebody's repository is not a checkout of ours.
        if git("ls-files", "--error-unmatch", str(Path(__file__))) == "":
            return None
        return {"commit": git("rev-parse", "HEAD"), "changed": git("status", "--porcelain", "-uno") != ""}
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache
def _versions() -> dict[str, str | None]:
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
