"""The evaluation is a sum over all examples: no batch size changes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llama_experiments.data.examples import Batch
from llama_experiments.tasks.base import Output
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.evaluation import Evaluation, evaluate
from llama_experiments.training.settings import Training
from tests.training.conftest import SENTIMENT, Case


def evaluated(case: Case, batch_size: int, part: str = "validation", precision: str = "fp32") -> Evaluation:
    accelerator = make_accelerator(Training(learning_rate=1.0, precision=precision))  # type: ignore[arg-type]
    model = accelerator.prepare_model(case.task_model(), evaluation_mode=True)
    return evaluate(model, case.task, case.examples[part], batch_size, accelerator)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_no_batch_size_changes_a_number(batch_size: int, part: str, case: Case) -> None:
    found, expected = evaluated(case, batch_size, part), evaluated(case, 5, part)
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)
    assert found.count == expected.count
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-5)
    assert found.predictions.keys() == expected.predictions.keys()
    for name, values in found.predictions.items():
        np.testing.assert_allclose(values, expected.predictions[name], rtol=0, atol=2e-5, err_msg=name)


def test_the_loss_is_transformers_own(case: Case) -> None:
    """A row at a time, through `model(labels=...)`: the mean over all items, not over rows."""
    examples, model = case.examples["validation"], case.model().eval()
    values, offsets = examples.ragged["input_ids"]
    total = 0.0
    for row, count in enumerate(examples.counts):
        ids = torch.tensor([values[offsets[row] : offsets[row + 1]].tolist()])
        labels = torch.tensor([examples.fixed["label"][row]]) if case.task is SENTIMENT else ids
        with torch.no_grad():
            total += model(input_ids=ids, labels=labels).loss.item() * count
    found = evaluated(case, 8)
    assert found.count == examples.counts.sum()
    assert found.loss == pytest.approx(total / examples.counts.sum(), abs=1e-6)


def test_predictions_come_in_the_order_of_the_rows(case: Case) -> None:
    examples = case.examples["validation"]
    assert (np.diff(examples.lengths) < 0).any(), "or sorting by length would be no test"
    assert (np.diff(examples.lengths) > 0).any()
    found = evaluated(case, 4).predictions
    assert found["row"].tolist() == examples.fixed["row"].tolist()
    assert found["count"].tolist() == examples.counts.tolist()
    model = case.task_model().eval()
    for index in (0, 7, len(examples) - 1):
        with torch.no_grad():
            alone = model(examples.batch(np.array([index]))).predictions["loss"]
        assert found["loss"][index] == pytest.approx(float(alone[0]), abs=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_given_back(training: bool, sentiment: Case) -> None:
    accelerator = make_accelerator(Training(learning_rate=1.0))
    model = sentiment.task_model().train(training)
    evaluate(model, sentiment.task, sentiment.examples["validation"], 8, accelerator)
    assert {module.training for module in model.modules()} == {training}
    assert all(parameter.grad is None for parameter in model.parameters())


class Narrow(TaskModel):
    """A model whose predictions are in bf16, which numpy does not have."""

    def forward(self, batch: Batch) -> Output:
        output = super().forward(batch)
        narrow = {
            name: value.bfloat16() if value.is_floating_point() else value
            for name, value in output.predictions.items()
        }
        return Output(output.loss, output.count, narrow)


def test_predictions_in_a_narrow_type_become_numbers_that_numpy_has(case: Case) -> None:
    accelerator = make_accelerator(Training(learning_rate=1.0))
    found = evaluate(Narrow(case.model(), case.task), case.task, case.examples["validation"], 8, accelerator)
    assert found.predictions["loss"].dtype == np.float32
    assert found.loss == pytest.approx(evaluated(case, 8).loss, rel=5e-3)


def test_the_evaluation_is_in_the_arithmetic_of_the_training(case: Case) -> None:
    narrow, exact = evaluated(case, 8, precision="bf16"), evaluated(case, 8)
    assert 0 < abs(narrow.loss - exact.loss) < 0.05
