"""The report: the result first, the best epoch marked, and every link leads somewhere."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.report import best_epoch, class_table, contents, write_report
from tests.runs.conftest import Finished
from tests.runs.made import record, run_command

EPOCHS = [
    record(0, None, 0.7, {"accuracy": 0.5}),
    record(1, 0.6, None),
    record(2, 0.4, 0.375, {"accuracy": 0.75, "exact_match": 1.0}),
    record(3, 0.2, 0.45, {"accuracy": 0.8}),
]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A folder whose name has a space."""
    made = RunFolder(tmp_path / "a run")
    made.path.mkdir()
    made.epochs.touch()
    made.curves.touch()
    return made


def reported(folder: RunFolder, epochs: list[dict[str, Any]], overrides: list[str] | None = None) -> str:
    write_report(folder, {"device": "CPU, fp32"}, epochs, 2, "example", overrides or [])
    return folder.report.read_text()


def table(report: str) -> list[list[str]]:
    lines = [line for line in report.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table(folder: RunFolder) -> None:
    columns, alignment, *rows = table(reported(folder, EPOCHS))
    assert columns == ["epoch", "training loss", "evaluation loss", "accuracy", "exact match", "seconds"]
    assert alignment == ["---:"] * 6
    assert rows == [
        ["0", "", "0.7000", "0.5000", "", "1.5"],
        ["1", "0.6000", "", "", "", "1.5"],
        ["**2**", "**0.4000**", "**0.3750**", "**0.7500**", "**1.0000**", "**1.5**"],
        ["3", "0.2000", "0.4500", "0.8000", "", "1.5"],
    ]


def test_the_result_comes_first(folder: RunFolder) -> None:
    lines = reported(folder, EPOCHS).splitlines()
    assert lines[:3] == [
        "# a run",
        "",
        "The lowest evaluation loss is **0.3750**, accuracy 0.7500, exact match 1.0000, after epoch 2; before any "
        "update it was 0.7000, accuracy 0.5000.",
    ]
    assert (
        "Losses are nats per example; an epoch's training loss is the mean over it, while the weights move." in lines
    )
    assert "- device: CPU, fp32" in lines


@pytest.mark.parametrize(
    ("epochs", "result"),
    [
        (EPOCHS[:1], "The lowest evaluation loss is **0.7000**, accuracy 0.5000, after epoch 0: before any update."),
        (EPOCHS[2:], "The lowest evaluation loss is **0.3750**, accuracy 0.7500, exact match 1.0000, after epoch 2."),
        ([record(0, None, "inf"), record(1, 0.5, 0.25)],
         "The lowest evaluation loss is **0.2500**, after epoch 1; before any update it was inf."),
        ([record(0, None, "nan")], "| epoch | training loss | evaluation loss | seconds |"),
    ],
)  # fmt: skip
def test_other_results(epochs: list[dict[str, Any]], result: str, folder: RunFolder) -> None:
    assert reported(folder, epochs).splitlines()[2] == result


def test_the_best_epoch_is_the_first_lowest_number() -> None:
    assert best_epoch([record(0, None, "nan"), record(1, 0.5, "-inf"), record(2, 0.4, None)]) is None
    epochs = [record(0, None, "nan"), record(1, 0.5, 0.3), record(2, 0.4, 0.3)]
    assert best_epoch(epochs) is epochs[1]


def test_only_what_is_there_is_listed(folder: RunFolder) -> None:
    report = reported(folder, EPOCHS)
    assert "confusion.png" not in report
    assert "model/" not in report
    folder.confusion.touch()
    folder.model.mkdir()
    report = reported(folder, EPOCHS)
    assert "![label against prediction](confusion.png)" in report
    assert "- [model/](model/): epoch 2's weights, for transformers' from_pretrained" in report
    assert dict(contents(folder, 2))["confusion.png"] == "label against prediction"


def test_a_saved_config_in_any_folder_and_settings_with_spaces(folder: RunFolder) -> None:
    settings = ["training.epochs=3", "dataset.train=my data.csv"]
    report = reported(folder, EPOCHS, settings)
    (told,) = re.findall(r"The settings given were `(.*)`\.", report)
    assert shlex.split(told) == settings
    assert "settings given" not in reported(folder, EPOCHS)
    command = shlex.split(report.splitlines()[-1])
    assert command == ["python", "-m", "llama_experiments", "--config-path", str(folder.hydra)]


def test_the_report_of_a_run(finished: Finished) -> None:
    report = finished.folder.report.read_text()
    links = re.findall(r"\]\(([^)]*)\)", report)
    not_for_people = {"report.md", "run.json", "state.json", ".lock", "tracker.json", ".tracker.lock"}
    there = {path.name for path in finished.folder.path.iterdir()}
    assert {link.rstrip("/") for link in links} == there - not_for_people
    rows = table(report)[2:5]
    assert [row[0].strip("*") for row in rows] == ["0", "1", "2"]
    best = min(finished.epochs, key=lambda epoch: epoch["eval_loss"])
    assert [row[0] for row in rows if row[0].startswith("**")] == [f"**{best['epoch']}**"]
    assert f"the evaluation rows as epoch {max(best['epoch'], 1)} predicted them" in report
    assert "- device: " in report
    assert table(report)[0][3:] == ["accuracy", "macro F1", "seconds"]  # the others are told by class


def test_classes_and_data_are_told(finished: Finished) -> None:
    report = finished.folder.report.read_text()
    predictions = pq.read_table(finished.folder.predictions).to_pydict()
    metrics = {epoch["epoch"]: epoch["metrics"] for epoch in finished.epochs}
    kept = int(re.findall(r"## Classes, as epoch (\d) predicted them", report)[0])
    cells = {row[0]: row[1:] for row in table(report)}
    for name in ("negative", "positive"):
        shares = [f"{metrics[kept][f'{what}_{name}']:.4f}" for what in ("precision", "recall")]
        predicted = predictions["prediction"].count(name)
        assert cells[name] == ["10", str(predicted), shares[0] if predicted else "--", shares[1]]
    assert f"AUC {metrics[kept]['auc']:.4f}, calibration error {metrics[kept]['calibration_error']:.4f}." in report
    assert cells["rows"] == ["48", "20"]
    assert cells["left out: an empty text"] == ["0", "1"]
    found = json.loads(finished.folder.hygiene.read_text())["parts"]
    assert found["validation"]["left_out"] == {"an empty text": {"rows": 1, "numbers": [3]}}
    assert cells["tokens"] == [f"{found[part]['lengths']['total']:,}" for part in ("train", "validation")]


def test_a_class_without_rows_or_predictions() -> None:
    predictions = {"label": ["a", "a", "b_1"], "prediction": ["a", "c", "a"]}
    epoch = record(2, 0.5, 0.5, {"accuracy": 1 / 3, "precision_a": 0.5, "auc_like": 0.25})
    lines = class_table(predictions, ["a", "b_1", "c"], epoch, ("accuracy",))
    assert lines[0] == "## Classes, as epoch 2 predicted them"
    assert table("\n".join(lines))[2:] == [
        ["a", "2", "2", "0.5000", "0.5000"],
        ["b\\_1", "1", "0", "--", "0.0000"],
        ["c", "0", "1", "0.0000", "--"],
    ]
    assert lines[-1] == "AUC like 0.2500."


def test_the_headline_is_what_is_told(folder: RunFolder) -> None:
    epochs = [record(1, 0.5, 0.25, {"accuracy": 0.75, "macro_f1": 0.5, "precision_a": 0.125})]
    tested = {"epoch": 1, "test_loss": 0.5, "metrics": {"accuracy": 0.25, "precision_a": 0.625}}
    write_report(folder, {}, epochs, 1, "example", [], (), tested, ("accuracy", "macro_f1"))
    report = folder.report.read_text()
    assert "**0.2500**, accuracy 0.7500, macro F1 0.5000, after epoch 1." in report
    assert "**0.5000**, accuracy 0.2500." in report
    assert "0.125" not in report
    assert "0.625" not in report


def test_what_mlflow_shows_needs_nothing_else(folder: RunFolder) -> None:
    """Its description of a run cannot show a picture or follow a link into the folder."""
    summary = write_report(folder, {"device": "CPU, fp32"}, EPOCHS, 2, "token", ["seed=1"])
    assert table(summary) == table(folder.report.read_text())
    assert "](" not in summary
    assert summary in folder.report.read_text()


def test_the_command_of_a_report_is_the_same_experiment(finished: Finished, tmp_path: Path) -> None:
    command = shlex.split(finished.folder.report.read_text().splitlines()[-1])
    assert command[:3] == ["python", "-m", "llama_experiments"]
    status, composed, _ = run_command(tmp_path, *command[3:], "--cfg", "job")
    assert status == 0
    assert yaml.safe_load(composed) == yaml.safe_load((finished.folder.hydra / "config.yaml").read_text())
