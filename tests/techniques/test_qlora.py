"""QLoRA where it cannot be had: it says so. What it computes needs a GPU."""

from __future__ import annotations

import importlib.machinery

import pytest
import torch

from llama_experiments.errors import SettingError
from llama_experiments.models.quantized import parameter_count, why_no_bitsandbytes
from llama_experiments.techniques.composed import Composed
from llama_experiments.techniques.qlora import QLoRA


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    """A machine with the package and the GPU, or not."""

    def given(package: bool, gpu: bool) -> None:
        spec = importlib.machinery.ModuleSpec("bitsandbytes", None) if package else None
        monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)

    return given


def test_what_is_missing_is_said(machine: object) -> None:
    assert callable(machine)
    machine(package=False, gpu=True)
    ((setting, sentence),) = QLoRA().problems({"num_hidden_layers": 2})
    assert setting == ""
    assert sentence.endswith("needs the package bitsandbytes: pip install 'llama-experiments[quantized]'")
    machine(package=True, gpu=False)
    assert why_no_bitsandbytes("adamw_8bit") == "adamw_8bit needs a GPU, and there is none here"
    assert [setting for setting, _ in QLoRA(target_modules=["query"]).problems({"num_hidden_layers": 2})] == [
        "target_modules",
        "",
    ]
    machine(package=True, gpu=True)
    assert QLoRA().problems({"num_hidden_layers": 2}) == []


def test_its_trunk_is_in_4_bits_and_the_heads_are_not() -> None:
    asked = Composed(parts={"qlora": QLoRA()}).quantization()
    assert asked is not None
    assert asked.load_in_4bit
    assert asked.bnb_4bit_quant_type == "nf4"
    assert set(asked.llm_int8_skip_modules) == {"score", "qa_outputs", "lm_head"}


def test_it_is_not_merged() -> None:
    with pytest.raises(SettingError, match="merge must be false"):
        QLoRA(merge=True)


def test_parameters_in_4_bits_lie_two_in_one() -> None:
    class Packed(torch.Tensor):
        quant_state = type("State", (), {"shape": torch.Size([8, 6])})

    packed = torch.zeros(24, 1, dtype=torch.uint8).as_subclass(Packed)
    assert parameter_count([packed, torch.zeros(3, 2)]) == 48 + 6
