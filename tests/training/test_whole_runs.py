"""Settings of training that only a whole run shows: which weights are saved, and how memory is spared."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaMLP

from llama_experiments.data.sources import LocalFiles
from llama_experiments.errors import UserError
from llama_experiments.experiment import Experiment
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import read_journal
from llama_experiments.runs.tracker import Tracker
from llama_experiments.tasks.base import Task
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.base import Technique
from llama_experiments.training import loop
from llama_experiments.training.evaluation import Evaluation, evaluate
from llama_experiments.training.settings import Training
from tests.conftest import sentences, write_table

SENTIMENT, TEXT_GENERATION = SequenceClassification(max_length=48), TextGeneration(max_length=24)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows, and the output folder of all runs here, so that the tracker's store is made once."""
    folder = tmp_path_factory.mktemp("outputs")
    write_table(folder / "train.csv", [*sentences(20)])
    write_table(folder / "validation.csv", [*sentences(10, start=100)])
    return folder


Run = Callable[..., RunFolder]


@pytest.fixture
def run(outputs: Path, model_folder: Path, tmp_path: Path) -> Run:
    """A whole run in this process: `run(task, name, **training)` returns its folder."""

    def one(task: Task, name: str, **training: Any) -> RunFolder:
        text_only = {"text": "text"} if isinstance(task, TextGeneration) else {}
        settings: dict[str, Any] = {"learning_rate": 1e-3, "schedule": "constant"} | training
        experiment = Experiment(
            model=Checkpoint(checkpoint=str(model_folder)),
            dataset=LocalFiles(
                train=str(outputs / "train.csv"), validation=str(outputs / "validation.csv"), columns=text_only
            ),
            task=task,
            technique=Technique(),
            training=Training(**settings),
            tracker=Tracker(),
            output_dir=str(outputs),
        )
        experiment.run(tmp_path / name, {}, [], {})
        return RunFolder(tmp_path / name)

    return one


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.model / "model.safetensors")


def same(one: RunFolder, other: RunFolder) -> bool:
    """Whether two runs saved the same weights, to the last bit."""
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def losses(folder: RunFolder) -> list[float]:
    return [record["loss_sum"] / record["count"] for record in read_journal(folder.steps)]


@pytest.fixture
def third_epoch_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation losses by script: the lowest after the second epoch of three."""
    script = [0.1, 0.9, 0.5, 0.7]
    said: list[Evaluation] = []

    def scripted(*arguments: Any, **keywords: Any) -> Evaluation:
        found = evaluate(*arguments, **keywords)
        said.append(dataclasses.replace(found, loss=script[len(said) % 4]))
        return said[-1]

    monkeypatch.setattr(loop, "evaluate", scripted)


@pytest.mark.usefixtures("third_epoch_is_worse")
def test_best_is_of_the_lowest_evaluation_since_training_began(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a constant schedule the second of three epochs is the last of two. Epoch 0's loss was the lowest."""
    best, last = run(SENTIMENT, "best"), run(SENTIMENT, "last", save_model="last")
    monkeypatch.undo()
    first_two = run(SENTIMENT, "two", epochs=2, save_model="last")
    assert same(best, first_two)
    assert best.predictions.read_bytes() == first_two.predictions.read_bytes()
    assert not same(last, first_two)
    assert [record["eval_loss"] for record in read_journal(best.epochs)] == [0.1, 0.9, 0.5, 0.7]


def test_none_saves_no_weights(run: Run) -> None:
    folder = run(SENTIMENT, "none", save_model="none", epochs=1)
    assert not folder.model.exists()
    assert folder.predictions.exists()


@pytest.mark.parametrize("task", [SENTIMENT, TEXT_GENERATION], ids=["sentiment", "text_generation"])
def test_two_runs_save_the_same_bits(task: Task, run: Run) -> None:
    one, other = run(task, "one"), run(task, "other")
    assert losses(one) == losses(other)
    files = [(folder.model / "model.safetensors").read_bytes() for folder in (one, other)]
    assert files[0] == files[1]
    assert one.predictions.read_bytes() == other.predictions.read_bytes()
    kept = ("epoch", "train_loss", "eval_loss", "metrics", "learning_rate", "examples", "tokens")
    records = [
        [{key: record[key] for key in kept} for record in read_journal(folder.epochs)] for folder in (one, other)
    ]
    assert records[0] == records[1]
    starts = [json.loads(folder.environment.read_text())["model"]["starting_weights_hash"] for folder in (one, other)]
    assert starts[0] == starts[1]


@pytest.mark.parametrize("task", [SENTIMENT, TEXT_GENERATION], ids=["sentiment", "text_generation"])
def test_gradient_checkpointing_computes_again_and_changes_no_number(
    task: Task, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: Counter[bool] = Counter()
    forward = LlamaMLP.forward

    def counted(self: torch.nn.Module, hidden: torch.Tensor) -> Any:
        passes[self.training] += 1
        return forward(self, hidden)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    plain = run(task, "plain", epochs=1)
    plain_passes = passes.copy()
    passes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # transformers' advice to us is none of the user's business
        sparing = run(task, "sparing", epochs=1, gradient_checkpointing=True)
    layers, kept = 2, int(task is SENTIMENT)  # a classifier's last layer, run for a token a row, is kept
    assert passes[True] * layers == plain_passes[True] * (2 * layers - kept) > 0
    assert passes[False] == plain_passes[False] > 0  # an evaluation has no gradient to spare memory for
    assert losses(sparing) == pytest.approx(losses(plain), abs=1e-6)
    norms = [[record["gradient_norm"] for record in read_journal(folder.steps)] for folder in (sparing, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_compiled_layers_give_the_same_losses(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the half of the compiler that needs no C++: the code is traced, and run by the kernels that are there."""
    compiled: list[Any] = []
    through = torch.compile

    def counted(what: Any, **settings: Any) -> Any:
        compiled.append(what)
        return through(what, **settings, backend="aot_eager")

    plain = run(SENTIMENT, "plain", epochs=1)
    monkeypatch.setattr(torch, "compile", counted)
    other = run(SENTIMENT, "compiled", epochs=1, compile=True)
    assert len(compiled) > 1  # its layers
    assert losses(other) == pytest.approx(losses(plain), abs=1e-6)


def test_training_that_diverges_keeps_what_was_good(run: Run, tmp_path: Path) -> None:
    """The folder stays, with the epochs before and no weights that are no numbers."""
    with pytest.raises(UserError, match="training diverged"):
        run(SENTIMENT, "diverged", learning_rate=1e39, epochs=1, batch_size=1000)
    folder = RunFolder(tmp_path / "diverged")
    assert [record["epoch"] for record in read_journal(folder.epochs)] == [0]
    assert not folder.model.exists()
