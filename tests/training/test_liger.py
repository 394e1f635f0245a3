"""Liger's kernels: what of the package is used, and where it is refused. The kernels themselves need a GPU."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

from llama_experiments.training.liger import use_liger
from llama_experiments.training.settings import Training


def test_this_model_s_layers_use_it_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a package that does as the real one: it changes the classes of all models, too."""
    asked: list[dict[str, Any]] = []

    class TheirNorm(torch.nn.Module):
        pass

    def apply(**given: Any) -> None:
        asked.append(given)
        modeling_llama.LlamaRMSNorm = TheirNorm  # type: ignore[misc]

    package = types.ModuleType("liger_kernel.transformers")
    package.apply_liger_kernel_to_llama = apply  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", types.ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", package)
    own = modeling_llama.LlamaRMSNorm
    sizes = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=1))
    use_liger(model)
    (given,) = asked
    assert given.pop("model") is model
    assert given == {"rope": False, "cross_entropy": False, "fused_linear_cross_entropy": False}
    assert modeling_llama.LlamaRMSNorm is own


def test_it_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Training(learning_rate=1e-3, liger_kernels=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    needs = "true needs the package liger-kernel: pip install 'llama-experiments[liger]', or set it to false"
    assert asked.problems() == [("liger_kernels", needs)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert asked.problems() == [
        ("liger_kernels", "true needs a GPU, and there is none here; set training.liger_kernels=false")
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert asked.problems() == []
