"""LoRA: what it adds and trains, and what plain peft and plain transformers make of what it saves."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from llama_experiments.errors import SettingError, UserError
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.freezing import Freeze
from llama_experiments.techniques.lora import LoRA
from tests.conftest import save_tiny_llama

CLASSES = SequenceClassification(labels=["a", "b", "c"], max_length=32)
ANSWERS = QuestionAnswering(max_length=32, stride=8)
WRITING = TextGeneration(max_length=32)
TASKS = pytest.mark.parametrize("task", [CLASSES, ANSWERS, WRITING], ids=lambda task: type(task).__name__)
HEADS = {SequenceClassification: ["score"], QuestionAnswering: ["qa_outputs"], TextGeneration: []}


def loaded(folder: Path, task: Task) -> PreTrainedModel:
    return Checkpoint(checkpoint=str(folder)).load(task, seed=0).model.eval()


def answers(model: torch.nn.Module) -> torch.Tensor:
    """[numbers] everything the head says of two rows."""
    ids = torch.arange(3, 51).reshape(2, 24)
    with torch.no_grad():
        output = model.eval()(input_ids=ids)
    if "start_logits" in output:
        return torch.cat([output.start_logits, output.end_logits]).flatten()
    return output.logits.flatten()


def stirred(model: PreTrainedModel) -> PreTrainedModel:
    """The model with everything moved that may move, as by training."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def moving(model: PreTrainedModel) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@TASKS
def test_at_its_start_it_changes_no_logit_and_only_adapters_and_a_new_head_move(
    task: Task, model_folder: Path
) -> None:
    model = loaded(model_folder, task)
    before = answers(model)
    assert LoRA().adapt_model(model, 0) is model
    assert torch.equal(answers(model), before)
    heads = HEADS[type(task)]
    assert all(".lora_" in name or ".modules_to_save.default." in name for name in moving(model))
    assert {name.split(".")[0] for name in moving(model) if ".lora_" not in name} == set(heads)
    adapted = {name.partition(".")[2].partition(".lora_")[0] for name in moving(model) if ".lora_" in name}
    assert adapted == {f"layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")}
    groups = LoRA().parameter_groups(model)
    assert sum(len(group.parameters) for group in groups) == len(moving(model))


def test_the_seed_draws_the_adapter_and_nothing_else(model_folder: Path) -> None:
    models = [loaded(model_folder, CLASSES) for _ in range(3)]
    torch.manual_seed(5)
    expected = torch.randn(1)
    torch.manual_seed(5)
    one, same, other = (
        LoRA().adapt_model(model, seed).model.layers[0].self_attn.q_proj.lora_A.default.weight
        for model, seed in zip(models, (1, 1, 2), strict=True)
    )
    assert torch.equal(torch.randn(1), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@TASKS
def test_plain_peft_loads_what_is_saved(task: Task, model_folder: Path, tmp_path: Path) -> None:
    model = stirred(LoRA(rank=3, alpha=7.0).adapt_model(loaded(model_folder, task), 0))
    LoRA().saved()["adapter"](model, tmp_path / "adapter")
    plain = PeftModel.from_pretrained(loaded(model_folder, task), tmp_path / "adapter")
    torch.testing.assert_close(answers(plain), answers(model), rtol=0, atol=1e-6)
    assert plain.peft_config["default"].r == 3
    assert plain.peft_config["default"].task_type in ("SEQ_CLS", "QUESTION_ANS", "CAUSAL_LM")


@TASKS
def test_merged_it_is_a_plain_model_with_the_same_logits(task: Task, model_folder: Path, tmp_path: Path) -> None:
    technique = LoRA(merge=True, target_modules="all-linear")
    model = stirred(technique.adapt_model(loaded(model_folder, task), 0))
    expected, weights = answers(model), copy.deepcopy(model.state_dict())
    assert (answers(loaded(model_folder, task)) - expected).abs().max() > 1e-3
    saved = technique.saved()
    assert set(saved) == {"adapter", "model"}
    saved["model"](model, tmp_path)
    whole, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not any("lora" in name or "base_layer" in name for name, _ in whole.named_parameters())
    torch.testing.assert_close(answers(whole), expected, rtol=0, atol=1e-5)
    assert all(torch.equal(values, weights[name]) for name, values in model.state_dict().items())


def test_an_untied_head_is_merged_as_it_is(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "untied", tokenizer_folder, tie_word_embeddings=False)
    technique = LoRA(merge=True)
    model = stirred(technique.adapt_model(loaded(folder, WRITING), 0))
    technique.saved()["model"](model, tmp_path / "merged")
    torch.testing.assert_close(
        answers(type(model).from_pretrained(tmp_path / "merged")), answers(model), rtol=0, atol=1e-5
    )


@TASKS
def test_what_was_saved_is_put_back(task: Task, model_folder: Path, tmp_path: Path) -> None:
    technique = LoRA()
    model = stirred(technique.adapt_model(loaded(model_folder, task), 0))
    expected = answers(model)
    technique.saved()["adapter"](model, tmp_path / "adapter")
    assert not torch.equal(answers(stirred(model)), expected)
    technique.restore(model, tmp_path)
    assert torch.equal(answers(model), expected)


def test_dropout_acts_while_training_and_only_then(model_folder: Path) -> None:
    from llama_experiments.tasks.task_model import TaskModel

    model = stirred(LoRA(dropout=0.5).adapt_model(loaded(model_folder, CLASSES), 0))
    task_model = TaskModel(model, CLASSES)
    ids = torch.arange(3, 27)[None]
    with torch.no_grad():
        task_model.train()
        trained = [model(ids).logits for _ in range(2)]
        task_model.eval()
        evaluated = [model(ids).logits for _ in range(2)]
    assert not torch.equal(*trained)
    assert torch.equal(*evaluated)


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        ("all-linear", 14),
        ("o_proj", 2),
        (["mlp.up_proj", "layers.1.self_attn.k_proj"], 3),
    ],
)
def test_targets_are_named_by_the_ends_of_their_names(
    targets: list[str] | str, adapted: int, model_folder: Path
) -> None:
    model = LoRA(target_modules=targets).adapt_model(loaded(model_folder, WRITING), 0)
    assert len([name for name in moving(model) if ".lora_A." in name]) == adapted


def test_only_what_is_open_is_adapted(model_folder: Path, tmp_path: Path) -> None:
    """After layer freezing: the last layer's targets, and not the final norm, which freezing had left open."""
    model = Freeze(trainable_layers=1).adapt_model(loaded(model_folder, CLASSES), 0)
    LoRA().adapt_model(model, 0)
    assert {name.partition(".lora_")[0] for name in moving(model)} == {
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.v_proj",
        "score.modules_to_save.default.weight",
    }
    LoRA().saved()["adapter"](stirred(model), tmp_path)
    plain = PeftModel.from_pretrained(loaded(model_folder, CLASSES), tmp_path)
    torch.testing.assert_close(answers(plain), answers(model), rtol=0, atol=1e-6)


def test_a_trunk_without_anything_open_has_nothing_to_adapt(model_folder: Path) -> None:
    model = Freeze().adapt_model(loaded(model_folder, CLASSES), 0)
    with pytest.raises(UserError, match=r"technique.target_modules: all of them are frozen already"):
        LoRA().adapt_model(model, 0)


@pytest.mark.parametrize("name", ["query", "lm_head", "layers.7.self_attn.q_proj", "proj"])
def test_targets_that_the_model_does_not_have(name: str, model_folder: Path) -> None:
    """Told from the shape before anything is loaded, and at the model itself: with what there is."""
    technique = LoRA(target_modules=["q_proj", name])
    ((setting, sentence),) = technique.problems({"num_hidden_layers": 2})
    assert setting == "target_modules"
    assert sentence.startswith(
        f"the model has no linear module '{name}'; it has q_proj, k_proj, v_proj, o_proj, gate"
    )
    with pytest.raises(UserError) as raised:
        technique.adapt_model(loaded(model_folder, WRITING), 0)
    assert str(raised.value) == f"technique.target_modules: {sentence}"


def test_targets_are_not_judged_by_a_shape_that_is_not_known() -> None:
    assert LoRA(target_modules=["query"]).problems(None) == []
    assert LoRA(target_modules="all-linear").problems({"num_hidden_layers": 2}) == []


@pytest.mark.parametrize(
    "wrong", [{"rank": 0}, {"alpha": 0.0}, {"alpha": float("inf")}, {"dropout": 1.0}, {"target_modules": []}]
)
def test_settings_have_their_ranges(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        LoRA(**wrong)  # type: ignore[arg-type]
