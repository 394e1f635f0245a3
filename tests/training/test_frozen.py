"""What is frozen costs nothing and changes nothing: the same training as with its gradients thrown away."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import PreTrainedModel

from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.techniques.base import Technique
from llama_experiments.techniques.freezing import Freeze
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.loop import Epoch, fit
from llama_experiments.training.settings import Training
from llama_experiments.training.step import Step
from tests.training.conftest import Case

HEAD_ONLY, LAST = Freeze(), Freeze(trainable_layers=1)
# The clip has work to do in most steps: a gradient that was not thrown away would change what is left of the others.
TRAINING = Training(learning_rate=3e-3, epochs=2, warmup_ratio=0.2, max_grad_norm=0.5, weight_decay=0.1)
Change = Callable[[PreTrainedModel], None]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A training's losses by step and by epoch, each for an item, and the weights after it."""

    steps: list[float]
    epochs: list[float]
    norms: list[float]
    weights: dict[str, torch.Tensor]

    @property
    def losses(self) -> list[float]:
        return [*self.steps, *self.epochs]


def trained(case: Case, technique: Technique, change: Change = lambda model: None) -> Seen:
    """Train what the technique opens; `change` may alter the model after that, and before the training."""
    model = technique.adapt_model(case.model(), 0)
    groups = technique.parameter_groups(model)
    change(model)
    steps: list[Step] = []
    epochs: Iterator[Epoch] = fit(
        TaskModel(model, case.task),
        case.examples["train"],
        case.examples["validation"],
        training=TRAINING,
        groups=groups,
        seed=0,
        accelerator=make_accelerator(TRAINING),
        on_step=steps.append,
    )
    evaluations = [epoch.evaluation.loss for epoch in epochs if epoch.evaluation is not None]
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return Seen([step.loss / step.count for step in steps], evaluations, [s.gradient_norm for s in steps], weights)


@pytest.mark.parametrize("technique", [HEAD_ONLY, LAST], ids=["head", "last layer"])
def test_as_with_the_gradients_computed_and_thrown_away(technique: Freeze, case: Case) -> None:
    thrown: dict[str, float] = {}  # the largest gradient of each frozen tensor

    def compute_and_throw_away(model: PreTrainedModel) -> None:
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                parameter.requires_grad = True

                def throw(tensor: torch.Tensor, name: str = name) -> None:
                    assert tensor.grad is not None
                    thrown[name] = max(thrown.get(name, 0.0), tensor.grad.abs().max().item())
                    tensor.grad = None

                parameter.register_post_accumulate_grad_hook(throw)

    frozen = trained(case, technique)
    computed = trained(case, technique, compute_and_throw_away)
    assert frozen.losses == pytest.approx(computed.losses, abs=1e-6, rel=0)
    assert frozen.norms == pytest.approx(computed.norms, rel=1e-4)
    for name, weight in frozen.weights.items():
        assert torch.allclose(weight, computed.weights[name], atol=1e-5, rtol=0), name
    # Or it would say little: every frozen tensor had a gradient, and the loss fell by far more than the tolerance.
    assert thrown.keys() == {name for name in frozen.weights if not _opened(name, technique)}
    assert min(thrown.values()) > 0
    assert max(frozen.norms) > 0.5
    assert frozen.epochs[-1] < frozen.epochs[0] - 1e-3


def _opened(name: str, technique: Freeze) -> bool:
    head = name.startswith(("score.", "lm_head."))
    if technique == HEAD_ONLY:
        return head
    return name.startswith(("score.", "model.layers.1.", "model.norm."))


@pytest.mark.parametrize("technique", [HEAD_ONLY, LAST, Technique()], ids=["head", "last layer", "full"])
def test_the_optimizer_holds_state_for_what_moves_alone(technique: Technique, case: Case) -> None:
    opened: dict[int, str] = {}
    held: set[int] = set()

    def note_what_moves(model: PreTrainedModel) -> None:
        opened.update({id(p): name for name, p in model.named_parameters() if p.requires_grad})

    def note_state(optimizer: torch.optim.Optimizer, *_: object) -> None:
        held.update(id(parameter) for parameter in optimizer.state)
        assert all({"exp_avg", "exp_avg_sq"} <= state.keys() for state in optimizer.state.values())

    handle = register_optimizer_step_post_hook(note_state)
    try:
        trained(case, technique, note_what_moves)
    finally:
        handle.remove()
    assert held == opened.keys()
    assert held


def graphs_of_layers(case: Case, technique: Technique) -> list[set[bool]]:
    """For each decoder layer, then for the trunk's norm: whether its outputs in training had a graph behind them."""
    found: list[set[bool]] = []

    def note(module: torch.nn.Module, _: Any, output: Any, *, seen: set[bool]) -> None:
        tensor = output if isinstance(output, torch.Tensor) else output[0]
        if not torch.is_inference(tensor):  # evaluations have none anyway
            assert tensor.requires_grad == (tensor.grad_fn is not None)
            seen.add(tensor.grad_fn is not None)

    def watch(model: PreTrainedModel) -> None:
        trunk = model.base_model
        for module in [*(layer.mlp for layer in trunk.layers), trunk.norm]:  # parts that are called in any case
            seen: set[bool] = set()
            found.append(seen)
            module.register_forward_hook(
                lambda module, inputs, output, seen=seen: note(module, inputs, output, seen=seen)
            )

    trained(case, technique, watch)
    return found


def test_below_what_moves_there_is_no_graph(case: Case) -> None:
    assert graphs_of_layers(case, HEAD_ONLY) == [{False}, {False}, {False}]
    assert graphs_of_layers(case, LAST) == [{False}, {True}, {True}]
    assert graphs_of_layers(case, Technique()) == [{True}, {True}, {True}]


def with_dropout(*layers: int) -> Change:
    """Half of the attention of these layers is dropped, wherever they are in training mode."""

    def change(model: PreTrainedModel) -> None:
        for layer in layers:
            model.base_model.layers[layer].self_attn.attention_dropout = 0.5

    return change


def test_what_is_frozen_drops_nothing_out(case: Case) -> None:
    assert trained(case, HEAD_ONLY, with_dropout(0, 1)).losses == trained(case, HEAD_ONLY).losses
    last = trained(case, LAST).losses
    assert trained(case, LAST, with_dropout(0)).losses == last
    differences = [abs(a - b) for a, b in zip(trained(case, LAST, with_dropout(1)).losses, last, strict=True)]
    assert max(differences) > 1e-3  # what moves does drop out


def test_the_mode_of_what_is_frozen_is_evaluation(case: Case) -> None:
    model = LAST.adapt_model(case.model(), 0)
    task_model = TaskModel(model, case.task)
    for _ in range(2):
        assert task_model.train() is task_model
        trunk = model.base_model
        head = model.score if hasattr(model, "score") else model.lm_head
        assert not any(module.training for module in [trunk.embed_tokens, *trunk.layers[0].modules()])
        assert all(module.training for module in [task_model, model, trunk, *trunk.layers[1].modules(), trunk.norm])
        # The tied output matrix is the embeddings, which are frozen.
        assert head.training == hasattr(model, "score")
        assert not any(module.training for module in task_model.eval().modules())
