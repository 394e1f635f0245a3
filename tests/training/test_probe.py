"""The padding probe lets a Llama pass and stops a model that looks at padding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from llama_experiments import sharing
from llama_experiments.data.examples import Batch
from llama_experiments.errors import UserError
from llama_experiments.tasks.base import Output
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.training.probe import probe_once, probe_padding
from tests.training.conftest import LABELS, SENTIMENT, Case

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolsTheLastColumn(SequenceClassification):
    """The classic mistake: the last column of the batch, padding or not."""

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        columns = torch.full_like(batch["lengths"], batch["input_ids"].shape[1])
        return super().output(model, {**batch, "lengths": columns})


def test_a_llama_passes(case: Case) -> None:
    assert probe_padding(case.task_model(), case.examples["validation"], CPU) < 1e-5


def test_a_model_that_looks_at_padding_is_stopped(sentiment: Case) -> None:
    model = TaskModel(sentiment.model(), PoolsTheLastColumn(labels=LABELS))
    with pytest.raises(UserError, match=r"model\.attention: the padding probe failed: .* when it is padded"):
        probe_padding(model, sentiment.examples["validation"], CPU)


def test_weights_that_are_no_numbers_are_stopped(sentiment: Case) -> None:
    model = sentiment.task_model()
    torch.nn.init.constant_(model.model.score.weight, float("nan"))
    with pytest.raises(UserError, match="padding probe failed"):
        probe_padding(model, sentiment.examples["validation"], CPU)


def test_the_shortest_row_is_padded_to_the_longest(sentiment: Case) -> None:
    shapes: list[tuple[int, ...]] = []
    model, examples = sentiment.task_model(), sentiment.examples["validation"]
    model.register_forward_pre_hook(lambda _, arguments: shapes.append(tuple(arguments[0]["input_ids"].shape)))
    probe_padding(model, examples, CPU)
    shortest, longest = int(np.min(examples.lengths)), int(np.max(examples.lengths))
    assert shapes == [(1, shortest), (2, longest)]
    assert longest > shortest
    assert longest <= SENTIMENT.max_length


def test_jobs_that_begin_alike_share_it(sentiment: Case) -> None:
    sharing.forget()
    passes: list[int] = []

    def probes(key: str = "weights", autocast: bool = False, **config: float) -> int:
        """How many passes a job makes, whose model is another in memory."""
        model = sentiment.task_model()
        model.model.config.update(config)
        model.register_forward_pre_hook(lambda *_: passes.append(1))
        passes.clear()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            probe_once(model, sentiment.examples["validation"], CPU, False, key)
        return len(passes)

    assert probes() == 2
    assert probes() == 0
    assert probes("other weights") == 2
    assert probes(autocast=True) == 2
    assert probes(rms_norm_eps=1e-4) == 2
    assert probes() == 0


def test_a_probe_that_failed_is_made_again(sentiment: Case) -> None:
    for _ in range(2):
        model = TaskModel(sentiment.model(), PoolsTheLastColumn(labels=LABELS))
        with pytest.raises(UserError, match="padding probe failed"):
            probe_once(model, sentiment.examples["validation"], CPU, False, "weights")


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_given_back(training: bool, sentiment: Case) -> None:
    model = sentiment.task_model().train(training)
    probe_padding(model, sentiment.examples["validation"], CPU)
    assert {module.training for module in model.modules()} == {training}


def test_the_runs_arithmetic_is_tried(sentiment: Case) -> None:
    """Under autocast to bf16 the probe computes in bf16, as the run will."""
    model, seen = sentiment.task_model(), []
    model.model.score.register_forward_hook(lambda _, __, logits: seen.append(logits.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        probe_padding(model, sentiment.examples["validation"], CPU)
    assert seen == [torch.bfloat16, torch.bfloat16]
