"""How many threads compute: by what a pass is worth, at most those there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from llama_experiments.models.threads import WORTH, matching_threads


@pytest.fixture
def of_three() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> LlamaForSequenceClassification:
    sizes = {"vocab_size": 16, "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2}
    return LlamaForSequenceClassification(LlamaConfig(**sizes, num_attention_heads=8, pad_token_id=0))


def weights(model: LlamaForSequenceClassification) -> int:
    """Of a layer: four square matrices, three of the feed-forward part, two norms."""
    return 4 * 64 * 64 + 3 * 64 * 172 + 2 * 64


@pytest.mark.parametrize(("worth", "threads"), [(0.1, 1), (1.9, 1), (2.1, 2), (3.1, 3), (50.0, 3)])
def test_a_pass_has_the_threads_that_it_is_worth(
    worth: float, threads: int, model: LlamaForSequenceClassification, of_three: int
) -> None:
    with matching_threads(model, tokens=worth * WORTH / weights(model)):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == of_three


def test_an_error_gives_them_back(model: LlamaForSequenceClassification, of_three: int) -> None:
    with pytest.raises(ValueError, match="of a pass"), matching_threads(model, tokens=1):
        raise ValueError("of a pass")
    assert torch.get_num_threads() == of_three


def test_a_gpu_is_none_of_its_business(model: LlamaForSequenceClassification, of_three: int) -> None:
    """The processor's threads are then for what else the process does."""
    with matching_threads(model.to("meta"), tokens=1):
        assert torch.get_num_threads() == of_three
    model.to_empty(device="cpu")
