"""What the model writes after an evaluation: a function of its weights, told everywhere, no trace in the training."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import read_journal
from llama_experiments.tasks.base import Sample
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.base import Technique
from llama_experiments.training.device import make_accelerator
from llama_experiments.training.evaluation import evaluate
from llama_experiments.training.loop import Epoch, fit
from llama_experiments.training.settings import Training
from llama_experiments.training.step import Step
from tests.conftest import ROOT, sentences, write_table
from tests.training.conftest import TEXT_GENERATION, Case


def trained(case: Case, writes: bool, task: TextGeneration = TEXT_GENERATION) -> tuple[list[Step], list[Epoch]]:
    """Two epochs, in which dropout draws random numbers; with or without writing."""
    training = Training(learning_rate=1e-3, epochs=2)
    model, steps = case.model(), []
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    torch.manual_seed(3)
    epochs = fit(
        TaskModel(model, task),
        case.examples["train"],
        case.examples["validation"],
        training=training,
        groups=Technique().parameter_groups(model),
        seed=0,
        accelerator=make_accelerator(training),
        on_step=steps.append,
        tokenizer=case.tokenizer() if writes else None,
    )
    done = list(epochs)
    return steps, done


def samples(epochs: list[Epoch]) -> list[list[Sample]]:
    return [epoch.evaluation.samples for epoch in epochs if epoch.evaluation]


def test_writing_leaves_no_trace_in_the_training(text_generation: Case) -> None:
    silent, quiet = trained(text_generation, writes=False)
    loud, spoken = trained(text_generation, writes=True)
    assert [(step.loss, step.gradient_norm) for step in silent] == [(step.loss, step.gradient_norm) for step in loud]
    assert samples(quiet) == [[], [], []]
    assert all(sample.continuation for written in samples(spoken) for sample in written)


def test_samples_are_a_function_of_the_weights(text_generation: Case) -> None:
    first, again = (samples(trained(text_generation, writes=True)[1]) for _ in range(2))
    assert first == again
    prompts = [[sample.prompt for sample in written] for written in first]
    assert prompts[0] == prompts[1] == prompts[2], "or nobody could see what has changed"
    assert len(set(prompts[0])) == 3
    assert first[0] != first[2]


def test_prompts_are_the_beginnings_of_the_evaluation_rows(text_generation: Case) -> None:
    accelerator = make_accelerator(Training(learning_rate=1.0))
    examples, tokenizer = text_generation.examples["validation"], text_generation.tokenizer()
    arguments = (text_generation.task_model(), TEXT_GENERATION, examples, 8, accelerator)
    written = evaluate(*arguments, tokenizer=tokenizer).samples
    values, offsets = examples.ragged["input_ids"]
    rows = [tokenizer.decode(values[start:end].tolist()) for start, end in itertools.pairwise(offsets)]
    for sample in written:
        (row, *_) = [row for row in rows if row.removeprefix("<s>").strip().startswith(sample.prompt.strip())]
        rest = row.removeprefix("<s>").strip()[len(sample.prompt.strip()) :]
        assert rest.startswith(" "), "a prompt ends where a word ends"
        assert len(sample.prompt.split()) >= 2


def test_prompts_may_be_given_and_none_are_continued_where_none_is_asked_for(text_generation: Case) -> None:
    accelerator = make_accelerator(Training(learning_rate=1.0))
    examples, tokenizer = text_generation.examples["validation"], text_generation.tokenizer()

    def written(**settings: object) -> list[Sample]:
        task = TextGeneration(max_length=24, **settings)  # type: ignore[arg-type]
        model = TaskModel(text_generation.model(), task)
        return evaluate(model, task, examples, 8, accelerator, tokenizer=tokenizer).samples

    given = ["The kettle", "A train"]
    assert [sample.prompt.strip() for sample in written(sample_prompts=given)] == given
    assert written(sample_prompts=[]) == written(sample_tokens=0) == []
    short, longer = (written(sample_prompts=given, sample_tokens=tokens)[0].continuation for tokens in (4, 12))
    assert longer.startswith(short[:-1])
    assert longer != short
    cold, warm = (written(sample_prompts=given, sample_temperature=degrees) for degrees in (0.0, 2.0))
    assert cold != warm


def test_the_model_is_left_as_it_was(text_generation: Case) -> None:
    model = text_generation.task_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    accelerator = make_accelerator(Training(learning_rate=1.0))
    arguments = (model, TEXT_GENERATION, text_generation.examples["validation"], 8, accelerator)
    plain = evaluate(*arguments)
    told = evaluate(*arguments, tokenizer=text_generation.tokenizer())
    assert plain.loss == told.loss
    assert plain.metrics == told.metrics
    np.testing.assert_array_equal(plain.predictions["loss"], told.predictions["loss"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {module.training for module in model.modules()} == {True}
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.fixture(scope="module")
def in_two(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions answered by two processes, of which one writes."""
    folder = tmp_path_factory.mktemp("two")
    rows = [(f"What is {number}?", text, text.split()[-1]) for number, (text, _) in enumerate(sentences(14))]
    write_table(folder / "qa.csv", rows, ("question", "context", "answers"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = ["-m", "llama_experiments", "task=qa_generative", "dataset=local_qa_generative"]
    data = [f"dataset.{part}={folder / 'qa.csv'}" for part in ("train", "validation")]
    model = ["model=local", f"model.checkpoint={model_folder}", "model.learning_rate=1e-3", "task.max_length=60"]
    rest = ["training.epochs=1", "task.template='{question} {context}'", "hydra.run.dir=run"]
    done = subprocess.run(
        [*command, *arguments, *data, *model, *rest],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout)
    return folder


def test_of_two_processes_one_writes(in_two: Path) -> None:
    run = RunFolder(in_two / "run")
    epochs, written = read_journal(run.epochs), read_journal(run.samples)
    assert [record["epoch"] for record in written] == [0, 0, 0, 1, 1, 1]
    assert all({"exact_match", "f1"} <= epoch["metrics"].keys() for epoch in epochs)
    output = (in_two / "output.txt").read_text()
    assert output.count("«What is 0?»") == 2


def test_samples_stand_in_every_record(in_two: Path) -> None:
    """In the journal, the report and MLflow, as they were said."""
    from llama_experiments.runs.tracker import connect

    run = RunFolder(in_two / "run")
    written = read_journal(run.samples)
    assert [list(record) for record in written] == [["epoch", "prompt", "continuation"]] * 6
    report = run.report.read_text()
    section = report.partition("## What the model wrote")[2].partition("## What is here")[0]
    assert section.count("> What is") == 3
    assert section.count("- epoch 0: ") == section.count("- epoch 1: ") == 3
    assert "[samples.jsonl](samples.jsonl)" in report
    client = connect(f"sqlite:///{in_two / 'outputs' / 'mlflow.db'}")
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    for epoch in (0, 1):
        text = Path(client.download_artifacts(found.info.run_id, f"samples/epoch_{epoch:04}.txt")).read_text()
        ours = [record for record in written if record["epoch"] == epoch]
        assert text == "\n\n".join(record["prompt"] + record["continuation"] for record in ours) + "\n"
    assert json.loads(run.samples.read_text().splitlines()[0]) == written[0]
