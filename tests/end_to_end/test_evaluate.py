"""A saved run's model again: every task and technique gives the numbers that its run recorded, to the last bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaForCausalLM

from llama_experiments.errors import UserError
from llama_experiments.runs.saved import find_run
from llama_experiments.runs.trained import Replayed

Run = Callable[..., int]
Said = pytest.CaptureFixture[str]
FEW = ["dataset.train_examples=12", "dataset.validation_examples=6", "dataset.near_duplicates=none"]
SMALL = [*FEW, "training.epochs=1", "training.learning_rate=1e-3", "hydra.run.dir=first"]
TECHNIQUES = ["full", "lora", "freeze_last", "few_shot", "prompt", "baseline"]
TASKS = ["sentiment", "question_answering", "qa_generative", "text_generation", "text_completion", "chat"]


def evaluation(folder: Path, name: str = "validation") -> dict[str, object]:
    told: dict[str, object] = json.loads((folder / "evaluations" / name / "result.json").read_text())
    return told


@pytest.mark.parametrize(
    ("task", "technique"),
    [
        *(("sentiment", technique) for technique in TECHNIQUES),
        *((task, technique) for task in TASKS[1:] for technique in ("lora", "few_shot")),
    ],
)
def test_the_recorded_numbers_to_the_last_bit(
    task: str,
    technique: str,
    run: Run,
    tmp_path: Path,
    capsys: Said,
) -> None:
    own = ["task.sample_tokens=4"] if task in TASKS[2:] else []
    own += ["task.answer_tokens=4"] if task == "qa_generative" else []
    assert run(f"task={task}", f"technique={technique}", *SMALL, *own) == 0
    before = {file: file.read_bytes() for file in (tmp_path / "first").rglob("*") if file.is_file()}
    assert run("evaluate", "first") == 0
    assert "to the last bit" in capsys.readouterr().out
    told, result = evaluation(tmp_path / "first"), json.loads((tmp_path / "first" / "result.json").read_text())
    assert (told["as_recorded"], told["loss"], told["metrics"]) == (True, result["eval_loss"], result["metrics"])
    tables = [
        pq.read_table(tmp_path / "first" / folder / "predictions.parquet")
        for folder in (".", "evaluations/validation")
    ]
    assert tables[0].equals(tables[1])
    # The run's own record is as it was.
    assert all(file.read_bytes() == content for file, content in before.items())


def test_frozen_tensors_in_bf16_compute_what_they_computed(
    run: Run,
    tokenizer_folder: Path,
    model_folder: Path,
    tmp_path: Path,
    capsys: Said,
) -> None:
    """Beside a trained head in fp32 they are saved as bf16: loaded as fp32 they would give other numbers."""
    narrow = tmp_path / "narrow"
    shutil.copytree(model_folder, narrow)
    LlamaForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16).save_pretrained(narrow)
    model = ["model=local", f"model.checkpoint={narrow}", "model.learning_rate=1e-2", "task.max_length=48"]
    settings = ["technique=freeze", "training.precision=bf16", *SMALL]
    assert run(*model, *settings) == 0
    shutil.rmtree(narrow)  # what was saved whole needs no other model
    assert run("evaluate", "first") == 0
    assert "to the last bit" in capsys.readouterr().out
    assert run("evaluate", "first", "training.precision=fp32") == 0
    assert "not as it was: the setting training.precision: bf16, now fp32" in capsys.readouterr().out
    assert evaluation(tmp_path / "first", "validation-2")["as_recorded"] is False


def test_an_adapter_needs_its_model_unless_it_is_merged(
    run: Run, model_folder: Path, tmp_path: Path, capsys: Said
) -> None:
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    model = ["model=local", f"model.checkpoint={base}", "model.learning_rate=1e-2", "task.max_length=48"]
    for name, merge in (("plain", "false"), ("merged", "true")):
        assert run(*model, "technique=lora", f"technique.merge={merge}", *SMALL[:-1], f"hydra.run.dir={name}") == 0
        assert run("evaluate", name) == 0
        assert "to the last bit" in capsys.readouterr().out
    base.rename(tmp_path / "moved")
    assert run("evaluate", "plain") == 2
    assert "model.checkpoint: there is no folder" in capsys.readouterr().err
    assert run("evaluate", "plain", f"model.checkpoint={tmp_path / 'moved'}") == 0
    assert "to the last bit" in capsys.readouterr().out
    assert run("evaluate", "merged") == 0
    told = evaluation(tmp_path / "merged", "validation-2")
    recorded = json.loads((tmp_path / "merged" / "result.json").read_text())
    assert told["weights"] == "merged/model/"
    assert told["loss"] == pytest.approx(recorded["eval_loss"], abs=1e-6)


def test_solved_examples_that_cannot_be_drawn_again(
    run: Run, reviews: tuple[Path, Path], tmp_path: Path, capsys: Said
) -> None:
    train, validation = reviews
    data = ["dataset=local_sentiment", f"dataset.train={train}", f"dataset.validation={validation}"]
    assert run("technique=few_shot", *data, "hydra.run.dir=first") == 0
    train.write_text(train.read_text().replace("kettle", "pot"))
    assert run("evaluate", "first") == 2
    assert "dataset.train: train.csv has changed since the run" in capsys.readouterr().err


def test_a_run_without_weights_says_so(run: Run, tmp_path: Path, capsys: Said) -> None:
    assert run(*SMALL, "training.save_model=none") == 0
    assert run("evaluate", "first") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "it ran with training.save_model=none" in said
    assert not (tmp_path / "first" / "evaluations").exists()
    config = tmp_path / "first" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("save_model: none", "save_model: best"))
    with pytest.raises(UserError, match="there is no model/ in it, and it ended well"):
        Replayed.of(find_run("first"))
