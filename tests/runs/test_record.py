"""What a run leaves: predictions that add up to its losses, the right weights, and an end that is told."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.errors import UserError
from llama_experiments.runs.console import Console
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.record import Record
from llama_experiments.runs.result import Cost
from llama_experiments.runs.tracker import Tracker
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.text_generation import TextGeneration
from llama_experiments.techniques.base import Technique
from llama_experiments.training.evaluation import Evaluation
from tests.conftest import sentences
from tests.runs.conftest import Finished
from tests.runs.made import made_epoch, made_step

ENVIRONMENT: dict[str, Any] = {"data": {}}


@pytest.fixture
def record(store: str, tmp_path: Path) -> Record:
    """Of a run that begins now."""
    mirror = Mirror(Tracker(), tmp_path, lambda sentence: pytest.fail(sentence))
    return Record(RunFolder(tmp_path / "run"), Console(2), mirror, overrides=[], writes=True)


def status_and_note(record: Record, store: str) -> tuple[str, str]:
    assert record.mirror.run_id is not None
    run = MlflowClient(tracking_uri=store).get_run(record.mirror.run_id)
    return run.info.status, run.data.tags["mlflow.note.content"]


def test_the_predictions_of_a_run(finished: Finished) -> None:
    table = pq.read_table(finished.folder.predictions).to_pydict()
    assert set(table) == {
        "row", "label", "prediction", "probability", "probability_negative", "probability_positive", "loss", "count",
        "metric_sum", "metric_count",
    }  # fmt: skip
    rows = sentences(20, start=100)
    assert table["row"] == [1, 2, *range(4, 22)]  # as the file counts them: row 3 has no text
    assert table["label"] == [label for _, label in rows]
    for row in range(20):
        shares = {name: table[f"probability_{name}"][row] for name in ("negative", "positive")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
        assert table["prediction"][row] == max(shares, key=lambda name: shares[name])
        assert table["probability"][row] == max(shares.values())
        assert table["loss"][row] == pytest.approx(-math.log(shares[table["label"][row]]), abs=1e-6)
    kept = min(finished.epochs[1:], key=lambda epoch: epoch["eval_loss"])
    assert math.fsum(table["loss"]) / sum(table["count"]) == pytest.approx(kept["eval_loss"], abs=1e-12)
    right = [label == prediction for label, prediction in zip(table["label"], table["prediction"], strict=True)]
    assert sum(right) / 20 == kept["metrics"]["accuracy"]
    assert (table["metric_sum"], table["metric_count"]) == (right, [1.0] * 20)


def test_the_losses_of_text_generation_add_up(finished: Finished, tmp_path: Path) -> None:
    """Documents longer than the window are several examples of a row; the loss is per token."""
    settings = ["task=text_generation", "dataset=local_text_generation", "task.max_length=16", "training.epochs=1"]
    folder, (status, said, _) = finished.again(tmp_path, *settings)
    assert status == 0, said
    table = pq.read_table(folder.predictions).to_pydict()
    assert set(table) == {"row", "loss", "count", "metric_sum", "metric_count"}
    assert (table["metric_sum"], table["metric_count"]) == (table["loss"], table["count"])
    assert len(set(table["row"])) < len(table["row"])
    kept = json.loads(folder.epochs.read_text().splitlines()[1])
    mean = math.fsum(table["loss"]) / sum(table["count"])
    assert mean == pytest.approx(kept["eval_loss"], abs=1e-12)
    assert kept["metrics"]["perplexity"] == pytest.approx(math.exp(mean))
    assert not folder.confusion.exists()
    assert "Losses are nats per token" in folder.report.read_text()


def test_the_lowest_loss_since_training_began_is_kept(record: Record, tmp_path: Path) -> None:
    """An untrained model's weights are nobody's wish, whatever its loss."""
    losses = [0.1, 0.9, 0.8, 0.8, 0.85, math.nan, 0.7]
    kept = []
    with record:
        record.folder.path.mkdir()
        for number, loss in enumerate(losses):
            epoch = made_epoch(number, 0.5, loss)
            if record.epoch(epoch, last=False):
                kept.append(number)
                record.keep(with_predictions(epoch), EXAMPLES, TextGeneration())
        assert not record.epoch(made_epoch(7, 0.5, None), last=True)
    assert kept == [0, 1, 2, 6]


TABLE = pa.table({"input_ids": [[5, 6], [7, 8, 9]], "row": [0, 1], "count": [1, 2]})
EXAMPLES = Examples(TABLE, Rows("validation", "here.csv", None, np.array([1, 3]), {}))  # type: ignore[arg-type]


COST = Cost(
    technique="full",
    learning_rate=1e-3,
    parameters=20,
    trainable_parameters=10,
    peak_memory_growth=None,
    evaluation_tokens=30,
)


def with_predictions(epoch: Any) -> Any:
    predictions = {"row": np.array([0, 1]), "loss": np.array([0.25, 0.5], np.float32), "count": np.array([1, 2])}
    return dataclasses.replace(epoch, evaluation=Evaluation(epoch.evaluation.loss, 3, {}, predictions))


def test_only_one_process_writes(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    mirror = Mirror(Tracker(), tmp_path, lambda sentence: pytest.fail(sentence))
    with Record(folder, Console(2, speaks=False), mirror, overrides=[], writes=False) as record:
        record.start({"task": "x"}, ENVIRONMENT, {}, {})
        record.step(made_step(1))
        epoch = with_predictions(made_epoch(1, 0.5, 0.4))
        assert record.epoch(epoch)  # every process must decide alike
        record.keep(epoch, EXAMPLES, TextGeneration())
        assert not record.epoch(epoch)
        record.keep_model(Technique(), None, None, 8)  # type: ignore[arg-type]
        record.finish(TextGeneration(), COST)
    assert not folder.path.exists()
    assert mirror.run_id is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "note"),
    [
        (UserError("training.learning_rate: too high"), "FAILED", "training.learning_rate: too high"),
        (RuntimeError("out of memory"), "FAILED", "RuntimeError"),
        (KeyboardInterrupt(), "KILLED", "interrupted"),
    ],
)
def test_a_run_that_ends_early_says_how(
    error: BaseException, status: str, note: str, record: Record, store: str, tmp_path: Path
) -> None:
    def run() -> None:
        with record:
            record.start({"task": "x"}, ENVIRONMENT, {}, {})
            record.epoch(made_epoch(0, None, 0.7))
            raise error

    with pytest.raises(type(error)):
        run()
    assert status_and_note(record, store) == (status, f"{note}\n\n- task: x")
    assert record.mirror.run_id is not None
    kept = tmp_path / "mlflow-artifacts" / record.mirror.run_id / "artifacts" / "epochs.jsonl"
    assert kept.read_bytes() == record.folder.epochs.read_bytes() != b""


def test_a_run_that_ends_well(record: Record, store: str) -> None:
    with record:
        record.start({"task": "x"}, ENVIRONMENT, {}, {})
        assert json.loads(record.folder.environment.read_text()) == ENVIRONMENT
        epoch = with_predictions(made_epoch(0, None, 0.7))
        record.epoch(epoch)
        record.keep(epoch, EXAMPLES, TextGeneration())
        assert pq.read_table(record.folder.predictions).to_pydict() == {
            "row": [1, 3],
            "loss": [0.25, 0.5],
            "count": [1, 2],
            "metric_sum": [0.25, 0.5],
            "metric_count": [1.0, 2.0],
        }
        record.finish(TextGeneration(), COST)
    status, note = status_and_note(record, store)
    assert status == "FINISHED"
    assert "The lowest evaluation loss is **0.7000**" in note


def test_an_interrupted_command_is_killed_and_its_journal_whole(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch_of, seen = Record.epoch, []

    def interrupted(self: Record, epoch: Any, **last: bool) -> bool:
        keep = epoch_of(self, epoch, **last)
        seen.append(epoch.epoch)
        if epoch.epoch == 1:
            raise KeyboardInterrupt
        return keep

    monkeypatch.setattr(Record, "epoch", interrupted)
    folder, (status, _, warned) = finished.again(tmp_path)
    assert (status, warned.strip(), seen) == (130, "interrupted", [0, 1])
    journal = [json.loads(line) for line in folder.epochs.read_text().splitlines()]
    assert [epoch["eval_loss"] for epoch in journal] == [epoch["eval_loss"] for epoch in finished.epochs[:2]]
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/outputs/mlflow.db")
    (run,) = client.search_runs(["1"])
    assert run.info.status == "KILLED"
    assert not folder.report.exists()


def test_a_folder_that_is_taken_stays_as_it_is(record: Record, tmp_path: Path) -> None:
    record.folder.path.mkdir()
    record.folder.epochs.write_text("theirs\n")
    with pytest.raises(UserError, match="belongs to another run already"), record:
        record.start({"task": "x"}, ENVIRONMENT, {}, {})
    assert {path.name: path.read_text() for path in record.folder.path.iterdir()} == {"epochs.jsonl": "theirs\n"}
    assert record.mirror.run_id is None


def test_the_saved_weights_are_the_kept_epochs(finished: Finished) -> None:
    """Loaded by plain transformers, they give the losses of predictions.parquet."""
    import torch
    from transformers import LlamaForSequenceClassification

    from llama_experiments.models.tokenizer import load_tokenizer

    model = LlamaForSequenceClassification.from_pretrained(finished.folder.model)
    tokenizer = load_tokenizer(finished.folder.model)
    table = pq.read_table(finished.folder.predictions).to_pydict()
    names = SequenceClassification(labels=["negative", "positive"]).names
    assert model.config.id2label == dict(enumerate(names))
    for (text, label), loss in zip(sentences(20, start=100), table["loss"], strict=True):
        tokens = torch.tensor([tokenizer(text)["input_ids"][:48]])
        with torch.inference_mode():
            told = model(tokens, labels=torch.tensor([names.index(label)])).loss
        assert float(told) == pytest.approx(loss, abs=1e-5)
