"""What a person sees: a header, a line an epoch, and on a terminal a bar."""

from __future__ import annotations

import functools
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from llama_experiments.runs import console as module
from llama_experiments.runs.console import Console, number, words
from tests.runs.conftest import Finished
from tests.runs.made import made_step, record


class Terminal(io.StringIO):
    """A terminal of 100 columns that keeps what was written to it."""

    def isatty(self) -> bool:
        return True

    @property
    def line(self) -> str:
        """The line the cursor is in, as it looks."""
        return self.getvalue().split("\n")[-1].split("\r")[-1].rstrip()


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """From here on; a fixture's would be taken away before its test begins."""
    made = Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    # Every step is shown, however soon it comes after the last one.
    shown = functools.partial(module.tqdm, mininterval=0, miniters=1)
    size = {"dynamic_ncols": False, "ncols": 100}
    monkeypatch.setattr(module, "tqdm", lambda **settings: shown(**(settings | size)))
    return made


def test_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(3)
    console.epoch(record(0, None, 0.71234, {"accuracy": 0.5}))
    console.epoch(record(1, 0.5432, 0.4321, {"accuracy": 0.812}))
    console.epoch(record(2, 0.5, None))
    console.epoch(record(3, 0.25, "inf", {"exact_match": 0.5, "perplexity": "nan"}))
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 0/3  training loss   --    evaluation loss 0.7123  accuracy 0.500",
        "Epoch 1/3  training loss 0.5432  evaluation loss 0.4321  accuracy 0.812",
        "Epoch 2/3  training loss 0.5000",
        "Epoch 3/3  training loss 0.2500  evaluation loss inf  exact match 0.500  perplexity nan",
    ]


def test_lines_are_one_below_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(12)
    for epoch in (0, 9, 10, 12):
        console.epoch(record(epoch, 0.5 if epoch else None, 0.25))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  training")[0] for line in lines] == [
        "Epoch  0/12",
        "Epoch  9/12",
        "Epoch 10/12",
        "Epoch 12/12",
    ]
    assert len({line.index("evaluation") for line in lines}) == 1


def test_the_header_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Console(3).facts({"task": "sentiment", "evaluation": "600 rows"})
    assert capsys.readouterr().out == "task        sentiment\nevaluation  600 rows\n\n"


def test_all_processes_but_the_first_are_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_a_terminal(monkeypatch)
    console = Console(3, speaks=False)
    console.facts({"task": "sentiment"})
    console.epoch(record(1, 0.5, 0.4))
    console.line("end")
    console.warn("careful")
    console.step(made_step(1))
    assert terminal.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_of_many_metrics_the_headline_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"accuracy": 0.75, "precision_a": 0.5, "macro_f1": 0.25, "auc": 0.125}
    console = Console(3, headline=("accuracy", "macro_f1"))
    console.epoch(record(1, 0.5, 0.25, metrics))
    console.test({"epoch": 1, "test_loss": 0.5, "metrics": metrics})
    assert [line.rpartition("loss ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "0.2500  accuracy 0.750  macro F1 0.250",
        "0.5000  accuracy 0.750  macro F1 0.250",
    ]


def test_piped_a_step_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Console(3).step(made_step(1))
    assert capsys.readouterr() == ("", "")


def test_the_bar_has_loss_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    console = Console(2)
    console.step(made_step(1, loss=4.0))  # 100 tokens in 0.1 s; six steps in two epochs
    assert re.fullmatch(r"Epoch 1/2 \S+ +1/3 steps, \S+ left, loss 0\.5000, 1,000 tokens/s", terminal.line)
    console.step(made_step(2, loss=12.0, tokens=500))
    assert "2/3 steps" in terminal.line
    assert "loss 0.5500, 3,000 tokens/s" in terminal.line  # a twentieth of the way from 0.5 to 1.5; 600 in 0.2 s
    console.step(made_step(3))
    assert terminal.line.endswith("3/3 steps, 00:00 left, loss 0.5475, evaluating")


def test_the_epochs_line_takes_the_bars_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    console = Console(2)
    for step in (1, 2, 3):
        console.step(made_step(step))
    console.epoch(record(1, 0.5, 0.4))
    for line in terminal.getvalue().split("\n")[:-1]:
        assert line.split("\r")[-1] == "Epoch 1/2  training loss 0.5000  evaluation loss 0.4000"
    console.step(made_step(4, epoch=2, loss=8.0, tokens=200))
    assert terminal.line.startswith("Epoch 2/2 ")
    assert "1/3 steps" in terminal.line
    assert "loss 0.5250, 2,000 tokens/s" in terminal.line  # the loss goes on, the speed is the epoch's own


def test_a_warning_and_the_end_clear_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = on_a_terminal(monkeypatch)
    console = Console(2)
    console.step(made_step(1))
    assert terminal.line != ""
    console.warn("the tracker does not answer")
    assert terminal.line == ""
    assert capsys.readouterr().err == "warning: the tracker does not answer\n"
    console.step(made_step(2))
    assert terminal.line != ""
    console.close()
    assert terminal.line == ""


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(0.5, 4, "0.5000"), (1234.56, 1, "1234.6"), (3, 2, "3.00"), ("inf", 4, "inf"), ("nan", 4, "nan")],
)
def test_a_number_for_people(value: Any, digits: int, shown: str) -> None:
    assert number(value, digits) == shown


def test_a_metrics_name_for_people() -> None:
    assert words("exact_match") == "exact match"


def test_a_run_says_what_it_does_and_where_everything_is(finished: Finished, model_folder: Path) -> None:
    lines = finished.said.splitlines()
    assert lines[0] == "task        sentiment, technique full, at most 48 tokens"
    assert lines[1].startswith(f"model       {model_folder}: ")
    assert lines[1].endswith(" parameters trained (100.0%)")
    assert lines[2].startswith("training    48 rows of train.csv, ")
    assert lines[3].startswith("evaluation  20 rows of validation.csv, ")
    assert lines[3].endswith(" tokens; left out: 1 with an empty text")
    even = "negative {0} (50.0%), positive {0} (50.0%)"
    assert lines[4] == f"classes     training {even.format(24)}; evaluation {even.format(10)}"
    assert lines[5].startswith("lengths     training median ")
    assert lines[6] == "rows        evaluation 1 left out (an empty text)"
    assert lines[7] == "steps       12: 2 epochs of 6, batch 8, learning rate 0.003, linear"
    assert lines[8] == "device      CPU, fp32" or torch.cuda.is_available()
    assert lines[9:11] == ["outputs     outputs/run", ""]
    assert [line.split("  ")[0] for line in lines[11:14]] == ["Epoch 0/2", "Epoch 1/2", "Epoch 2/2"]
    assert all(re.search(r"  accuracy \d\.\d{3}  macro F1 \d\.\d{3}$", line) for line in lines[11:14])
    assert lines[14:16] == ["", "everything is in  outputs/run"]
    told = [line.split()[0] for line in lines[16:-1]]
    assert told == ["report.md", "curves.png", "confusion.png", "predictions.parquet", "model/"]
    assert all((finished.folder.path / name).exists() for name in told)
    assert lines[-1] == "compare runs in MLflow:  python -m llama_experiments ui"
