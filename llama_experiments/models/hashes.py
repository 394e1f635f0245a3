"""Weights by their hashes: what a run started from, and which tensors moved."""

from __future__ import annotations

import hashlib

import torch

from llama_experiments.models.shards import whole


def tensor_hashes(model: torch.nn.Module) -> dict[str, str]:
    """The hash of each parameter: its type, shape and bytes."""
    return {name: _hash(parameter) for name, parameter in sorted(model.named_parameters())}


def weights_hash(hashes: dict[str, str]) -> str:
    """One hash of a model's parameters, names and values."""
    told = "\n".join(f"{name} {value}" for name, value in sorted(hashes.items()))
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _hash(parameter: torch.nn.Parameter) -> str:
    digest = hashlib.blake2b(f"{parameter.dtype} {list(parameter.shape)}".encode(), digest_size=16)
    digest.update(whole(parameter).cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
