"""torch.compile, a layer at a time: all layers run the same code, so that one compilation does for all."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from llama_experiments.training.sharding import LAYER


def compile_layers(model: torch.nn.Module) -> None:
    """Have the model's layers compiled at their first passes, for any number of rows and tokens; names stay."""
    for module in model.modules():
        if type(module).__name__ == LAYER:
            module.compile(dynamic=True)


def why_no_compiler() -> str | None:
    """A sentence where there is nothing to compile with."""
    cxx = os.environ.get("CXX")
    compilers = [cxx] if cxx else ["g++", "clang++"]
    if importlib.util.find_spec("triton") is not None or any(map(shutil.which, compilers)):
        return None
    return "true needs a compiler: triton on a GPU, or g++ for the CPU; install one, or set training.compile=false"
