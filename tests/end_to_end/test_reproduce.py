"""`reproduce`: identical to the last bit, or the first number that differs and what is not as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file

from llama_experiments.models.attention import CHUNKED
from llama_experiments.runs.saved import find_run
from llama_experiments.runs.trained import Replayed
from tests.conftest import ROOT

Run = Callable[..., int]
Said = pytest.CaptureFixture[str]
EMBEDDED = ROOT / "llama_experiments" / "embedded"


@pytest.fixture
def saved(run: Run, tmp_path: Path) -> Path:
    """A run on files and a model of its own, which a test may change."""
    for part in ("train", "validation"):
        shutil.copy(EMBEDDED / "data" / f"reviews.{part}.tsv", tmp_path / f"{part}.tsv")
    shutil.copytree(EMBEDDED / "model", tmp_path / "llama")
    settings = ["dataset.train=train.tsv", "dataset.validation=validation.tsv", "dataset.columns.text=sentence"]
    rows = ["dataset.train_examples=40", "dataset.validation_examples=24", "training.epochs=2"]
    model = ["model=local", "model.checkpoint=llama", "model.learning_rate=1e-3"]
    assert run(*model, "dataset=local_sentiment", *settings, *rows, "hydra.run.dir=first") == 0
    return tmp_path / "first"


def test_a_run_is_the_same_again(run: Run, saved: Path, tmp_path: Path, capsys: Said) -> None:
    assert run("reproduce", "first", "hydra.run.dir=again") == 0
    assert "identical: 10 steps, 3 epochs and 39 tensors compared" in capsys.readouterr().out
    told = json.loads((tmp_path / "again" / "reproduction.json").read_text())
    assert (told["identical"], told["difference"]) == (True, None)
    # Moved to another place, it is the same run.
    (tmp_path / "elsewhere").mkdir()
    saved.rename(tmp_path / "elsewhere" / "moved")
    assert run("reproduce", "elsewhere/moved") == 0
    assert "identical" in capsys.readouterr().out


def test_what_was_left_to_the_machine_is_what_the_run_recorded(
    run: Run, saved: Path, tmp_path: Path, capsys: Said
) -> None:
    """A run of another machine: its settings say auto, its environment bf16 and torch's own attention."""
    file = saved / "environment.json"
    told = json.loads(file.read_text())
    assert (told["device"]["precision"], told["model"]["attention"]) == ("fp32", CHUNKED)
    told["device"]["precision"], told["model"]["attention"] = "bf16", "sdpa"
    file.write_text(json.dumps(told))
    assert run("reproduce", "first", "hydra.run.dir=again") == 1
    again = json.loads((tmp_path / "again" / "environment.json").read_text())
    assert (again["device"]["precision"], again["model"]["attention"]) == ("bf16", "sdpa")
    assert "different from epoch 0" in capsys.readouterr().out  # compared, not told beside each other
    assert run("reproduce", "first", "training.precision=fp32", "hydra.run.dir=exact") == 0  # what is said is done
    exact = json.loads((tmp_path / "exact" / "environment.json").read_text())
    assert exact["device"]["precision"] == "fp32"
    replayed = Replayed.of(find_run("first"))
    assert (replayed.experiment.training.precision, replayed.own.model.attention) == ("bf16", "sdpa")
    assert Replayed.of(find_run("first"), ["training.precision=fp32"]).experiment.training.precision == "fp32"


def test_an_mlflow_id_is_enough(run: Run, saved: Path, tmp_path: Path, capsys: Said) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("llama_experiments")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    shutil.rmtree(saved)
    assert run("reproduce", found.info.run_id) == 0
    assert "identical: 10 steps, 3 epochs and 39 tensors compared" in capsys.readouterr().out


def changed_data(folder: Path) -> None:
    file = folder / "train.tsv"
    file.write_text(file.read_text().replace(" the ", " a "))


def changed_weights(folder: Path) -> None:
    file = folder / "llama" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] *= 1.01
    save_file(tensors, file, {"format": "pt"})


def changed_seed(folder: Path) -> None:
    file = folder / "first" / ".hydra" / "config.yaml"
    file.write_text(file.read_text().replace("seed: 0", "seed: 1", 1))


@pytest.mark.parametrize(
    ("change", "cause"),
    [(changed_data, "likely because of the train data: 40 rows of train.tsv"), (changed_weights, "starting weights")],
)
def test_what_was_changed_is_named(
    run: Run, saved: Path, tmp_path: Path, capsys: Said, change: Callable[[Path], None], cause: str
) -> None:
    change(tmp_path)
    assert run("reproduce", "first", "hydra.run.dir=again") == 1
    said = capsys.readouterr().out
    assert "different from" in said
    assert cause in said
    told = json.loads((tmp_path / "again" / "reproduction.json").read_text())
    assert told["identical"] is False
    assert told["difference"]["where"]


def test_a_seed_changed_in_the_saved_config_is_seen_in_the_order_of_examples(
    run: Run, saved: Path, tmp_path: Path, capsys: Said
) -> None:
    changed_seed(tmp_path)
    assert run("reproduce", "first") == 1
    assert "different from epoch 0" in capsys.readouterr().out  # another seed is another new head


def test_threads_code_and_versions_are_named(run: Run, saved: Path, tmp_path: Path, capsys: Said) -> None:
    file = saved / "environment.json"
    told = json.loads(file.read_text())
    told["device"]["threads"] = torch.get_num_threads() + 1
    told["git"] = {"commit": "0" * 40, "changed": False}
    told["versions"]["torch"] = "1.0"
    file.write_text(json.dumps(told))
    assert run("reproduce", "first") == 0
    said = capsys.readouterr().out
    for words in ("code: 000000000000", "version of torch: 1.0", "number of threads"):
        assert f"although not as it was: the {words}" in said


def test_overrides_make_it_another_run(run: Run, saved: Path, capsys: Said) -> None:
    assert run("reproduce", "first", "training.learning_rate=3e-3", "training.epochs=1") == 0
    said = capsys.readouterr().out
    assert "training.learning_rate: 0.001, now 0.003" in said
    assert "training.epochs: 2, now 1" in said
    assert "evaluation loss: " in said


def test_what_cannot_be_reproduced_is_explained(run: Run, saved: Path, tmp_path: Path, capsys: Said) -> None:
    def refused(*arguments: str) -> str:
        assert run("reproduce", *arguments) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    assert "takes one run" in refused()
    assert "takes one run" in refused("first", "second")
    assert "there is no run nowhere" in refused("nowhere")
    assert "there is no run 0123456789abcdef0123456789abcdef" in refused("0123456789abcdef" * 2)
    config, environment = saved / ".hydra" / "config.yaml", saved / "environment.json"
    as_it_was, environment_was = config.read_text(), environment.read_text()
    config.write_text(as_it_was.replace("epochs:", "epohcs:"))
    assert "did you mean 'epochs'?" in refused("first")
    config.write_text(as_it_was + "\nhydra:\n  callbacks:\n    x: {_target_: shutil.copy}\n")
    assert "'hydra' node" in refused("first")
    config.write_text(as_it_was)
    environment.write_text(environment_was[:50])
    assert "is damaged" in refused("first")
    newer = json.loads(environment_was)
    newer["versions"]["llama-experiments"] = "99.0"
    environment.write_text(json.dumps(newer))
    assert "the run is of llama-experiments 99.0" in refused("first")
    environment.write_text(environment_was)
    (tmp_path / "train.tsv").unlink()
    assert "dataset.train: " in refused("first")
    config.unlink()
    assert "is no run's folder" in refused("first")
    (tmp_path / "sweep").mkdir()
    shutil.move(str(saved), tmp_path / "sweep" / "0-first")
    (tmp_path / "sweep" / "0-first" / ".hydra" / "config.yaml").write_text(as_it_was)
    assert "is a sweep of 1 runs" in refused("sweep")
