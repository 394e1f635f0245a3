"""The trunk of a question-answering model: the causal checkpoint's, though transformers has another name for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, LlamaForQuestionAnswering

from llama_experiments.errors import UserError
from llama_experiments.models.base import load_weights, quiet_transformers
from llama_experiments.tasks.question_answering import QuestionAnswering
from tests.conftest import SHARED, save_tiny_llama
from tests.models.checkpoints import SENTIMENT, TEXT, Tensors, as_a_run_saves, load, store, stored, token_ids

TASK = QuestionAnswering(max_length=64, stride=16)
FRESH = ["qa_outputs.bias", "qa_outputs.weight"]
HEAD = "lm_head.weight"
STORIES = SHARED / "stories260K"


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, tokenizer_folder: Path) -> Path:
    """A causal checkpoint whose embeddings are the head as well, and one with a head of its own."""
    return save_tiny_llama(tmp_path / "model", tokenizer_folder, tie_word_embeddings=request.param)


def of_the_checkpoint(model: torch.nn.Module, tensors: Tensors) -> list[str]:
    """The model's parameters that are a tensor of a causal checkpoint, bit for bit."""
    return [
        name
        for name, parameter in model.named_parameters()
        if (known := tensors.get("model." + name.removeprefix("transformer."))) is not None
        and known.dtype == parameter.dtype
        and torch.equal(known, parameter)
    ]


@pytest.mark.parametrize("files", [1, 3])
def test_every_tensor_of_the_trunk_is_the_checkpoints(files: int, folder: Path) -> None:
    tensors = stored(folder)
    store(folder, tensors, files)
    loaded = load(folder, TASK)
    names = [name for name, _ in loaded.model.named_parameters()]
    assert len(names) == 20 + 2
    assert of_the_checkpoint(loaded.model, tensors) == [name for name in names if name not in FRESH]
    assert loaded.fresh == FRESH
    assert loaded.left_over == [name for name in tensors if name == HEAD]  # of no use here
    assert (HEAD in tensors) != loaded.model.config.tie_word_embeddings


def test_narrow_weights_are_taken_as_they_are(folder: Path) -> None:
    tensors = {name: tensor.bfloat16() for name, tensor in stored(folder).items()}
    store(folder, tensors)
    assert len(of_the_checkpoint(load(folder, TASK).model, tensors)) == 20


def test_the_common_recipe_gets_none_of_it(folder: Path) -> None:
    """Which is why this task maps the names; the audit below would stop a run that did not."""
    with quiet_transformers():
        model = LlamaForQuestionAnswering.from_pretrained(folder)
    # Norms are ones in any Llama that was not trained.
    assert all(name.endswith("norm.weight") for name in of_the_checkpoint(model, stored(folder)))


def test_the_audit_stops_a_run_without_the_mapping(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuestionAnswering, "key_mapping", lambda self: {})
    with pytest.raises(UserError, match=r"20 tensors of the model did not come from .*: transformer\.embed_tokens"):
        load(folder, TASK)


@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"]
)
def test_a_tensor_that_is_missing_stops_the_run(name: str, folder: Path) -> None:
    tensors = stored(folder)
    del tensors[name]
    store(folder, tensors)
    with pytest.raises(UserError, match=f"1 tensor of the model did not come from .*{name.removeprefix('model.')}"):
        load(folder, TASK)


def test_a_tensor_without_a_place_stops_the_run(folder: Path) -> None:
    store(folder, stored(folder) | {"model.layers.2.mlp.up_proj.weight": torch.zeros(64, 32)})
    with pytest.raises(
        UserError, match=r"1 tensor of .*has no place in this model: .*layers\.2\.mlp\.up_proj\.weight"
    ):
        load(folder, TASK)


def test_the_trunk_computes_what_the_causal_one_does(folder: Path) -> None:
    ids = token_ids()
    with torch.no_grad():
        ours = load(folder, TASK).model.transformer(ids).last_hidden_state
        assert torch.equal(ours, load(folder, TEXT).model.model(ids).last_hidden_state)


def test_the_new_head_is_a_function_of_the_seed(folder: Path) -> None:
    heads = [load(folder, TASK, seed=seed).model.qa_outputs for seed in (5, 5, 6)]
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)
    assert all(head.bias.eq(0).all() for head in heads)


def test_a_saved_model_is_plain_transformers_and_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    loaded = load(folder, TASK)
    with torch.no_grad():
        for parameter in loaded.model.parameters():  # as after training: no tensor is the causal checkpoint's
            parameter.add_(torch.randn_like(parameter) * 0.02)
    kept = as_a_run_saves(loaded, tmp_path / "run")
    with quiet_transformers():
        plain = AutoModelForQuestionAnswering.from_pretrained(kept)
        tokenizer = AutoTokenizer.from_pretrained(kept)
    back = load(folder, TASK).model
    load_weights(back, kept)  # as a run takes its best weights back
    again = load(kept, TASK, seed=9)
    assert (again.fresh, again.left_over) == ([], [])
    assert tokenizer("The song")["input_ids"] == loaded.tokenizer("The song")["input_ids"]
    for one in (plain, back, again.model):
        assert all(
            torch.equal(mine, its) for mine, its in zip(loaded.model.parameters(), one.parameters(), strict=True)
        )
        ours, its = loaded.model(token_ids()), one(token_ids())
        assert torch.equal(ours.start_logits, its.start_logits)
        assert torch.equal(ours.end_logits, its.end_logits)


def test_a_saved_models_trunk_has_no_place_under_another_head(folder: Path, tmp_path: Path) -> None:
    """Better refused than begun from random weights."""
    kept = as_a_run_saves(load(folder, TASK), tmp_path / "run")
    with pytest.raises(UserError, match="20 tensors of the model did not come from"):
        load(kept, SENTIMENT)


@pytest.mark.skipif(not STORIES.is_dir(), reason="no real trained Llama here")
def test_a_real_trained_llama() -> None:
    tensors = stored(STORIES)
    loaded = load(STORIES, QuestionAnswering(max_length=512))
    assert loaded.fresh == FRESH
    assert len(of_the_checkpoint(loaded.model, tensors)) == len(dict(loaded.model.named_parameters())) - 2
    with quiet_transformers():
        bare = LlamaForQuestionAnswering.from_pretrained(STORIES)
    assert of_the_checkpoint(bare, tensors) == []
