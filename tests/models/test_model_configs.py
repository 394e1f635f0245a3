"""The groups in conf/model: the real names, and settings that suit each on whatever device it meets."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from llama_experiments.command_line.config_files import CONF
from llama_experiments.config import build
from llama_experiments.models.base import Model
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.from_scratch import FromScratch

# What each is called on the Hub, and how many positions its config has.
HUB = {
    "llama2_7b": ("meta-llama/Llama-2-7b-hf", 4_096),
    "llama2_13b": ("meta-llama/Llama-2-13b-hf", 4_096),
    "llama2_70b": ("meta-llama/Llama-2-70b-hf", 4_096),
    "llama2_7b_chat": ("meta-llama/Llama-2-7b-chat-hf", 4_096),
    "llama2_13b_chat": ("meta-llama/Llama-2-13b-chat-hf", 4_096),
    "llama2_70b_chat": ("meta-llama/Llama-2-70b-chat-hf", 4_096),
    "llama3_1_8b": ("meta-llama/Llama-3.1-8B", 131_072),
    "llama3_2_1b": ("meta-llama/Llama-3.2-1B", 131_072),
    "llama3_2_3b": ("meta-llama/Llama-3.2-3B", 131_072),
    "tinyllama_1_1b": ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", 2_048),  # with safetensors
}
OURS = {"embedded", "embedded_from_scratch", "local"}


def group(name: str, **settings: Any) -> Model:
    return build(yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text()) | settings, Model, path="model")


def test_every_group_is_looked_at_here() -> None:
    assert {file.stem for file in (CONF / "model").glob("*.yaml")} == {*HUB, *OURS}


@pytest.mark.parametrize("name", HUB)
def test_a_model_of_the_hub(name: str) -> None:
    hub_name, positions = HUB[name]
    model = group(name)
    assert isinstance(model, Checkpoint)
    assert (model.hub_name, model.revision) == (hub_name, None)
    # Its own attention, and its own type where it is frozen: a CPU's arithmetic is fp32, a GPU's bf16.
    assert (model.attention, model.dtype) == ("auto", "auto")
    assert 5e-6 <= model.learning_rate <= 5e-5  # for billions of weights
    header = (CONF / "model" / f"{name}.yaml").read_text().splitlines()[0]
    assert f"{positions:,} positions" in header
    assert ("gated" in header) == hub_name.startswith("meta-llama/")
    size = re.search(r"(\d+)b(-chat)?(-hf)?$", hub_name.lower())
    assert size is None or f"{size[1]}B" in header


def test_a_smaller_model_of_a_family_never_has_the_smaller_rate() -> None:
    for chat in ("", "_chat"):
        rates = [group(f"llama2_{size}{chat}").learning_rate for size in ("7b", "13b", "70b")]
        assert rates == sorted(rates, reverse=True)


def test_our_own() -> None:
    embedded, scratch = group("embedded"), group("embedded_from_scratch")
    assert isinstance(embedded, Checkpoint)
    assert isinstance(scratch, FromScratch)
    assert (embedded.hub_name, embedded.problems(), scratch.problems()) == (None, [], [])
    assert embedded.positions() == scratch.positions()
    assert group("local", checkpoint="some/where").learning_rate == group("llama2_7b").learning_rate
