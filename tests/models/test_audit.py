"""The load audit: a weight that is not the checkpoint's stops the run, but for a new head."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llama_experiments.errors import UserError
from llama_experiments.models.audit import start_head
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.question_answering import QuestionAnswering
from tests.conftest import save_tiny_llama
from tests.models.checkpoints import (
    SENTIMENT,
    TASKS,
    TEXT,
    THREE,
    Tensors,
    change,
    differing,
    load,
    store,
    stored,
    token_ids,
)

UP = "model.layers.1.mlp.up_proj.weight"
ANSWERS = QuestionAnswering(max_length=64, stride=16)
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
one_file_or_three = pytest.mark.parametrize("files", [1, 3])


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, tokenizer_folder: Path) -> Path:
    """A checkpoint whose embeddings are the head as well, and one with a head of its own."""
    return save_tiny_llama(tmp_path / "model", tokenizer_folder, tie_word_embeddings=request.param)


def refusal(folder: Path, task: Task) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, task)
    assert str(caught.value).startswith("model.checkpoint: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(*names: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        for name in names:
            del tensors[name]

    return edit


def with_tensor(name: str, *shape: int) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: torch.zeros(shape)})


@every_task
@one_file_or_three
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (without(UP), rf"1 tensor of the model did not come from .*model: {re.escape(UP)}; training would start"),
        (without("model.norm.weight"), r"1 tensor of the model did not come from .*: model\.norm\.weight;"),
        (with_tensor(UP, 64, 31), rf": {re.escape(UP)} has shape \[64, 31\] for \[64, 32\];"),
        (with_tensor("model.layers.2.mlp.up_proj.weight", 64, 32), r"1 tensor of .*model has no place in this mod"),
        (with_tensor("model.layers.0.self_attn.q_proj.bias", 32), r"has no place .*: .*\.self_attn\.q_proj\.bias$"),
        (with_tensor("model.layers.0.my_inv_freq", 4), r"has no place .*: .*\.0\.my_inv_freq$"),
        (with_tensor("lora_A.weight", 4, 4), r"has no place in this model: lora_A\.weight$"),
    ],
)
def test_a_trunk_that_is_not_the_checkpoints_stops_the_run(
    folder: Path, task: Task, files: int, edit: Callable[[Tensors], None], words: str
) -> None:
    tensors = stored(folder)
    edit(tensors)
    store(folder, tensors, files)
    assert re.search(words, refusal(folder, task))


@every_task
def test_missing_embeddings_stop_the_run(folder: Path, task: Task) -> None:
    tensors = stored(folder)
    del tensors[EMBEDDINGS]
    store(folder, tensors)
    assert EMBEDDINGS in refusal(folder, task)


@every_task
def test_many_tensors_are_counted_and_four_are_named(folder: Path, task: Task) -> None:
    tensors = stored(folder)
    names = sorted(name for name in tensors if ".layers.1." in name)
    without(*names)(tensors)
    store(folder, tensors)
    said = refusal(folder, task)
    assert "9 tensors of the model did not come from" in said
    assert f": {', '.join(names[:4])} and 5 more;" in said


@one_file_or_three
def test_only_the_new_head_is_fresh(folder: Path, files: int) -> None:
    tensors = stored(folder)
    store(folder, tensors, files)
    loaded = load(folder, SENTIMENT)
    assert loaded.fresh == ["score.weight"] == differing(loaded.model, tensors)
    assert loaded.left_over == [name for name in tensors if name == HEAD]  # an untied head is not for this task
    assert (HEAD in tensors) != loaded.model.config.tie_word_embeddings


def test_a_language_model_has_nothing_fresh_and_nothing_left(folder: Path) -> None:
    loaded = load(folder, TEXT)
    assert (loaded.fresh, loaded.left_over) == ([], [])
    assert differing(loaded.model, stored(folder)) == []


@every_task
def test_buffers_of_older_versions_may_be_left_over(folder: Path, task: Task) -> None:
    tensors = stored(folder)
    plain = load(folder, task)
    tensors |= {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.full((4,), 9.0) for layer in range(2)}
    store(folder, tensors)
    loaded = load(folder, task)
    assert torch.equal(loaded.model(token_ids()[:1]).logits, plain.model(token_ids()[:1]).logits)


def test_a_language_models_head_is_never_fresh(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_tiny_llama(tmp_path, tokenizer_folder, tie_word_embeddings=False)
    tensors = stored(folder)
    head = tensors.pop(HEAD)
    store(folder, tensors)
    assert "1 tensor of the model did not come from" in (said := refusal(folder, TEXT))
    assert HEAD in said
    assert load(folder, SENTIMENT).fresh == ["score.weight"]  # which has no use for it
    store(folder, tensors | {HEAD: head[:100].clone()})
    assert "lm_head.weight has shape [100, 32] for [320, 32]" in refusal(folder, TEXT)


def test_another_tasks_head_has_no_place_in_a_language_model(folder: Path) -> None:
    store(folder, stored(folder) | {"score.weight": torch.zeros(2, 32)})
    assert "1 tensor of" in (said := refusal(folder, TEXT))
    assert said.endswith("has no place in this model: score.weight")
    store(folder, stored(folder) | {"lm_head.bias": torch.zeros(320)})
    assert "2 tensors of" in (said := refusal(folder, TEXT))
    assert said.endswith("have no place in this model: lm_head.bias, score.weight")
    assert refusal(folder, ANSWERS).endswith("has no place in this model: score.weight")  # only an lm_head is passed


def test_the_new_head_is_a_function_of_the_seed(folder: Path) -> None:
    head = load(folder, THREE, seed=5).model.score.weight
    torch.rand(3)  # nor does it depend on what was drawn before
    assert torch.equal(head, load(folder, THREE, seed=5).model.score.weight)
    assert not torch.equal(head, load(folder, THREE, seed=6).model.score.weight)
    change(folder / "config.json", initializer_range=0.2)
    assert torch.equal(2 * head, load(folder, THREE, seed=5).model.score.weight)  # nor on the weights: 0.1 before
    assert head.std().item() == pytest.approx(0.1, rel=0.3)
    model = load(folder, THREE).model
    torch.manual_seed(99)  # whatever transformers drew while it loaded
    start_head(model, ["score.weight"], 5)
    assert torch.equal(2 * head, model.score.weight)


def test_a_head_that_fits_is_kept_and_another_is_drawn_anew(folder: Path) -> None:
    tensors = stored(folder) | {"score.weight": torch.randn(2, 32)}
    store(folder, tensors)
    kept = load(folder, SENTIMENT)
    assert (kept.fresh, differing(kept.model, tensors)) == ([], [])
    drawn = load(folder, THREE)
    assert drawn.fresh == ["score.weight"]
    assert drawn.model.score.weight.shape == (3, 32)
    assert differing(drawn.model, tensors) == ["score.weight"]
    assert drawn.model.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}


@pytest.mark.parametrize(
    ("names", "order"),
    [(["positive", "negative"], [1, 0]), (["negative", "positive"], [0, 1]), (["good", "bad"], [0, 1])],
)
def test_a_kept_heads_classes_go_by_name(
    tmp_path: Path, tokenizer_folder: Path, names: list[str], order: list[int]
) -> None:
    """The same names in another order are reordered; other names have no order to go by."""
    folder = save_tiny_llama(tmp_path, tokenizer_folder)
    head = torch.randn(2, 32)
    store(folder, stored(folder) | {"score.weight": head})
    change(folder / "config.json", id2label={"0": "negative", "1": "positive"})
    model = load(folder, SequenceClassification(labels=names)).model
    assert torch.equal(model.score.weight, head[order])
    assert model.config.id2label == dict(enumerate(names))


def test_a_tokens_missing_embedding_stops_the_run(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_tiny_llama(tmp_path, tokenizer_folder, vocab_size=319)
    assert refusal(folder, TEXT).endswith("its tokenizer has ids up to 319, but the model has 319 embeddings")


def test_a_pad_token_beyond_the_embeddings_is_never_used(tmp_path: Path, tokenizer_folder: Path) -> None:
    """As in some folders of Llama 2: `<pad>` is 32000, and the embeddings end at 31999."""
    folder = save_tiny_llama(tmp_path, tokenizer_folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    assert tokenizer.pad_token_id == 320
    tokenizer.save_pretrained(folder)
    loaded = load(folder, SENTIMENT)
    assert loaded.model.get_input_embeddings().weight.shape[0] == 320
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id == 0  # <unk>, which no text gives
    assert max(loaded.tokenizer("a <pad> b")["input_ids"]) < 320
    tokenizer.add_tokens(["zebra"])  # a word, which texts do give
    tokenizer.save_pretrained(folder)
    assert "has ids up to 321" in refusal(folder, SENTIMENT)
