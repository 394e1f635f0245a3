"""What a person reads of the model's texts: on the console, in the journal, in the report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from llama_experiments.runs.console import LONGEST_PROMPT, WIDTH, Console, as_text, told
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import Journal, read_journal
from llama_experiments.runs.report import samples_by_prompt
from llama_experiments.tasks.base import Sample
from llama_experiments.training.evaluation import Evaluation
from tests.runs.made import made_epoch

SAMPLES = [Sample("Ada had", " a kite.\nIt *flew*."), Sample("Otto", "")]


def test_a_sample_is_told_in_a_line() -> None:
    assert [told(sample) for sample in SAMPLES] == ["«Ada had» a kite. It *flew*.", "«Otto» (nothing)"]


def test_of_a_long_prompt_the_end_is_told() -> None:
    """What is gone on from is more than how it began."""
    line = told(Sample("word " * 100 + "the last one.", " And on."))
    assert line.startswith("«…")
    assert line.endswith("word the last one.» And on.")
    assert len(line) < LONGEST_PROMPT + 20


def test_samples_on_the_console_are_paragraphs_of_one_width(capsys: pytest.CaptureFixture[str]) -> None:
    Console(3).samples([Sample("It was", " so" * 100)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("    ") and len(line) <= 100 for line in lines)
    Console(3, speaks=False).samples(SAMPLES)
    assert capsys.readouterr().out == ""


def test_the_journal_has_every_sample_word_for_word(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    journal = Journal(folder)
    for number in (0, 1):
        epoch = made_epoch(number, None, 0.5)
        assert epoch.evaluation is not None
        evaluation = Evaluation(0.5, 4, {}, {"loss": np.zeros(4)}, SAMPLES)
        record = journal.epoch(dataclasses.replace(epoch, evaluation=evaluation))
        assert "samples" not in record
    found = read_journal(folder.samples)
    assert found == [
        {"epoch": number, "prompt": sample.prompt, "continuation": sample.continuation}
        for number in (0, 1)
        for sample in SAMPLES
    ]


def test_without_samples_there_is_no_file_of_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    Journal(folder).epoch(made_epoch(1, 0.5, 0.5))
    assert not folder.samples.exists()


def test_the_report_sets_a_prompts_continuations_side_by_side() -> None:
    later = [Sample("Ada had", " a [link](x)."), Sample("Otto", " | <b> $x$")]
    assert samples_by_prompt({0: SAMPLES, 2: later}) == [
        "## What the model wrote",
        "",
        "> Ada had  ",
        "",
        r"- epoch 0: a kite. It \*flew\*.",
        r"- epoch 2: a \[link\](x).",
        "",
        "> Otto  ",
        "",
        "- epoch 0: (nothing)",
        r"- epoch 2: \| \<b\> \$x\$",
    ]


def test_a_prompt_of_several_lines_is_quoted_as_such() -> None:
    assert "> User: Hi.  \n> Assistant:  " in samples_by_prompt({0: [Sample("User: Hi.\nAssistant:", " Yes.")]})


def test_samples_as_a_file_keep_their_lines_and_are_narrow() -> None:
    samples = [Sample("User: Hi.\nAssistant:", " so" * 100), *SAMPLES]
    text = as_text(samples)
    assert text.startswith("User: Hi.\nAssistant: so so")
    assert all(len(line) <= WIDTH for line in text.split("\n"))
    assert text.split() == " ".join(f"{sample.prompt}{sample.continuation}" for sample in samples).split()
