"""LoRA: the weights stay, and small matrices beside some of them learn (Hu et al. 2021); through peft."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.errors import UserError, check_settings
from llama_experiments.models.base import quiet_transformers, save_weights
from llama_experiments.techniques.base import Save, Technique

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ADAPTER, ALL = "default", "all-linear"  # peft's words
LINEAR = (
    *(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
    *(f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")),
)
# How peft calls the tasks, by the class of the model.
KINDS = {"ForSequenceClassification": "SEQ_CLS", "ForQuestionAnswering": "QUESTION_ANS", "ForCausalLM": "CAUSAL_LM"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA(Technique):
    """Two matrices of a low rank beside each target learn its change; a new head learns whole.

    Only what is still open when LoRA comes is adapted: after layer freezing, the targets in the open layers. At its
    start it changes no logit, for one of the two matrices is zero.
    """

    name: ClassVar[str] = "LoRA"

    rank: int = 8
    alpha: float = 16.0  # the change is scaled by alpha / rank
    dropout: float = 0.0  # of what the matrices read, while training
    # By the ends of their names; all-linear: all of them.
    target_modules: list[str] | str = dataclasses.field(default_factory=lambda: ["q_proj", "v_proj"])
    merge: bool = False  # keep the whole model too, with the change added to its weights

    def __post_init__(self) -> None:
        check_settings(
            ("rank", self.rank >= 1, f"must be at least 1, not {self.rank}"),
            ("alpha", 0 < self.alpha < math.inf, f"must be a positive number, not {self.alpha:g}"),
            ("dropout", 0 <= self.dropout < 1, f"must be at least 0 and below 1, not {self.dropout:g}"),
            ("target_modules", bool(self.target_modules), f"must name at least one module, or be {ALL}"),
        )

    def problems(self, shape: Mapping[str, Any] | None) -> list[tuple[str, str]]:
        layers = (shape or {}).get("num_hidden_layers")
        if not isinstance(layers, int):
            return []
        sentence = self._not_there([f"layers.{layer}.{name}" for layer in range(layers) for name in LINEAR])
        return [("target_modules", sentence)] if sentence else []

    def adapt_model(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        import torch
        from peft import LoraConfig

        trunk = model.base_model
        linear = {name: module for name, module in trunk.named_modules() if isinstance(module, torch.nn.Linear)}
        if (sentence := self._not_there(linear)) is not None:
            raise UserError(f"technique.target_modules: {sentence}")
        targets = [name for name in linear if self.target_modules == ALL or _is_one_of(name, self._targets())]
        still_open = [name for name in targets if _is_open(name, trunk)]
        if not still_open:
            raise UserError("technique.target_modules: all of them are frozen already; open one, or name others")
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=_shortest(still_open, linear),
            modules_to_save=_new_heads(model) or None,
            task_type=next((kind for end, kind in KINDS.items() if type(model).__name__.endswith(end)), None),
        )
        with torch.random.fork_rng(), quiet_transformers():
            torch.manual_seed(seed)
            model.add_adapter(config, ADAPTER)
        return model

    def saved(self) -> dict[str, Save]:
        return {"adapter": _save_adapter, **({"model": _save_merged} if self.merge else {})}

    def restore(self, model: PreTrainedModel, folder: Path) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        saved = load_file(folder / "adapter" / "adapter_model.safetensors")
        own = {name.removeprefix("base_model.model."): values for name, values in saved.items()}
        set_peft_model_state_dict(model, own, ADAPTER)

    def _targets(self) -> list[str]:
        return [self.target_modules] if isinstance(self.target_modules, str) else self.target_modules

    def _not_there(self, names: Iterable[str]) -> str | None:
        """What is wrong with the targets, where these are the model's linear modules."""
        if self.target_modules == ALL:
            return None
        known = list(names)
        missing = [target for target in self._targets() if not any(_is_one_of(name, [target]) for name in known)]
        if not missing:
            return None
        kinds = dict.fromkeys(name.rpartition(".")[2] for name in known)
        return (
            f"the model has no linear module {', '.join(repr(name) for name in missing)}; it has {', '.join(kinds)} "
            f"(one layer's: {known[0]}), and all of them are {ALL}"
        )


def _is_open(name: str, trunk: PreTrainedModel) -> bool:
    """Whether a linear module is not frozen. In 4 bits no weight can move: there the rest of its layer tells."""
    weight = trunk.get_submodule(name).weight
    layer = trunk.get_submodule(".".join(name.split(".")[:2]))  # layers.3
    told_by = [weight] if weight.is_floating_point() else layer.parameters()
    return any(parameter.requires_grad for parameter in told_by)


def _is_one_of(name: str, targets: Iterable[str]) -> bool:
    """Whether a module is named by one of the targets, each a whole name or its end."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _shortest(names: list[str], among: Iterable[str]) -> list[str]:
    """The kinds of modules where they say which are meant, else the names: the adapter's config is for people."""
    kinds = sorted({name.rpartition(".")[2] for name in names})
    return kinds if len(names) == sum(_is_one_of(name, kinds) for name in among) else names


def _new_heads(model: PreTrainedModel) -> list[str]:
    """What is above the trunk and learns whole. A language model's head is trained already, and stays."""
    if model.get_output_embeddings() is not None:
        return []
    above = [(name, module) for name, module in model.named_children() if module is not model.base_model]
    return [name for name, module in above if any(parameter.requires_grad for parameter in module.parameters())]


def _save_adapter(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)  # of a model with an adapter transformers saves the adapter, as peft would


def _save_merged(model: PreTrainedModel, folder: Path) -> None:
    """The model without an adapter, each target with the change added to it. The model itself stays as it is."""
    import torch

    with torch.device("meta"):
        whole = type(model)(model.config)
    whole.generation_config = getattr(model, "generation_config", None)
    whole.load_state_dict(_merged(model), assign=True)
    whole.tie_weights()
    save_weights(whole, folder)


def _merged(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights under the names that they have without an adapter."""
    from peft.tuners.lora import LoraLayer

    changes = {
        name: module.get_delta_weight(ADAPTER)
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    merged: dict[str, torch.Tensor] = {}
    for name, values in model.state_dict().items():
        if ".lora_" in name or ".original_module." in name:
            continue
        place = name.replace(".base_layer.", ".").replace(f".modules_to_save.{ADAPTER}.", ".")
        change = changes.get(place.removesuffix(".weight")) if name.endswith(".base_layer.weight") else None
        merged[place] = values if change is None else values.to(change.dtype) + change
    return merged
