"""The test part: evaluated once, when all is done, by the weights that the evaluation part chose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from llama_experiments.runs.journal import read_journal
from tests.conftest import sentences, write_table
from tests.runs.conftest import Finished


def misleading_data(folder: Path, task: str) -> list[str]:
    """Data whose training rows teach the opposite of what its evaluation rows ask: the first epoch stays the best."""
    if task == "sentiment":
        other = {"positive": "negative", "negative": "positive"}
        write_table(folder / "taught.csv", [(text, other[label]) for text, label in sentences(48)])
        write_table(folder / "asked.csv", [*sentences(20, start=100)])
    elif task == "text_generation":
        write_table(folder / "taught.csv", [("warm and warm and warm and warm and warm",)] * 24, header=("text",))
        write_table(folder / "asked.csv", [(text,) for text, _ in sentences(12)], header=("text",))
    for file, place in (("taught", 0), ("asked", -1)) if task == "question_answering" else ():
        passages = [f"The kettle number {number} was warm." for number in range(24)]
        questions: list[tuple[object, ...]] = [("Which?", passage, passage.split()[place]) for passage in passages]
        write_table(folder / f"{file}.csv", questions, header=("question", "context", "answers"))
    return ["dataset.train=taught.csv", "dataset.validation=asked.csv", "dataset.test=asked.csv"]


@pytest.mark.parametrize("task", ["sentiment", "text_generation", "question_answering"])
def test_the_kept_weights_are_tested(task: str, finished: Finished, tmp_path: Path) -> None:
    """Tested on the evaluation rows themselves, they must give the kept epoch's numbers, to the last bit."""
    data = misleading_data(tmp_path, task)
    length = "task.max_length=40"
    stride = ["task.stride=4"] if task == "question_answering" else []
    settings = [f"task={task}", f"dataset=local_{task}", *data, length, *stride]
    rate = ["training.learning_rate=2e-2", "training.epochs=3", "training.schedule=constant"]
    folder, (status, said, warned) = finished.again(tmp_path, *settings, *rate)
    assert (status, warned) == (0, "")
    epochs = read_journal(folder.epochs)
    kept = min(epochs[1:], key=lambda record: record["eval_loss"])
    assert kept["epoch"] < 3, "the last weights are to be others than the kept ones"
    test = json.loads(folder.test.read_text())
    assert (test["epoch"], test["test_loss"], test["metrics"]) == (kept["epoch"], kept["eval_loss"], kept["metrics"])
    assert pq.read_table(folder.test_predictions).equals(pq.read_table(folder.predictions))

    loss = f"{kept['eval_loss']:.4f}"
    (line,) = [line for line in said.splitlines() if line.startswith("Test, by epoch")]
    assert line.startswith(f"Test, by epoch {kept['epoch']}'s weights  test loss {loss}")
    assert f"epoch {kept['epoch']}'s weights have a loss of **{loss}**" in folder.report.read_text()
    assert len([line for line in said.splitlines() if line.startswith("test ")]) == 1  # of the header
    assert "test_predictions.parquet" in said
    mirrored = points(tmp_path)
    assert mirrored["test_loss"] == [(kept["epoch"], kept["eval_loss"])]
    for name, value in kept["metrics"].items():
        assert mirrored[f"test_{name}"] == [(kept["epoch"], value)]


def test_without_kept_weights_the_last_are_tested(finished: Finished, tmp_path: Path) -> None:
    data = misleading_data(tmp_path, "sentiment")
    rate = ["training.learning_rate=2e-2", "training.epochs=3", "training.save_model=none"]
    folder, (status, _, _) = finished.again(tmp_path, *data, *rate)
    assert status == 0
    last = read_journal(folder.epochs)[-1]
    test = json.loads(folder.test.read_text())
    assert (test["epoch"], test["test_loss"]) == (3, last["eval_loss"])


def test_a_run_without_a_test_part_says_nothing_of_one(finished: Finished) -> None:
    assert not finished.folder.test.exists()
    assert not finished.folder.test_predictions.exists()
    assert not [line for line in finished.said.splitlines() if line.lower().startswith("test")]
    assert "test part" not in finished.folder.report.read_text()
    environment = json.loads(finished.folder.environment.read_text())
    assert list(environment["data"]) == ["train", "validation"]


def points(home: Path) -> dict[str, list[tuple[int, float]]]:
    """The metrics of a store's only run: name -> (step, value) of each point."""
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'outputs' / 'mlflow.db'}")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    found: dict[str, list[tuple[int, float]]] = {}
    for name in run.data.metrics:
        history: list[Any] = client.get_metric_history(run.info.run_id, name)
        found[name] = [(point.step, point.value) for point in history]
    return found
