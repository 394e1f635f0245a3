"""`compare`: tables, a picture, verdicts; and what cannot be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., int]
Said = pytest.CaptureFixture[str]
TINY = [
    "dataset.train_examples=32",
    "dataset.validation_examples=40",
    "training.save_model=none",
    "training.epochs=1",
]


def test_a_sweep_over_seeds_and_rates(run: Run, tmp_path: Path, capsys: Said) -> None:
    assert run("-m", "training.learning_rate=1e-6,3e-3", "seed=0,1,2", *TINY, "hydra.sweep.dir=sweep") == 0
    capsys.readouterr()
    assert run("compare", "sweep", "to=told") == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"^seed=\d,learning_rate=\S+ ", said, re.MULTILINE)) == 6
    assert "McNemar over the evaluation rows, corrected among 15 comparisons (Holm)" in said
    assert "is not distinguishable from" in said
    assert "about these models" in said
    assert len(re.findall(r"over 3 seeds", said)) == 2
    assert "(Welch's t)" in said
    report = (tmp_path / "told" / "compare.md").read_text()
    assert report.count("\n| seed=") == 6
    assert (tmp_path / "told" / "compare.png").stat().st_size > 10_000
    # A wildcard, and a run named twice, are runs once.
    assert run("compare", "sweep/[01]-*", next(str(p) for p in (tmp_path / "sweep").glob("0-*"))) == 0
    assert len(re.findall(r"^seed=\S+ ", capsys.readouterr().out, re.MULTILINE)) == 2


def test_what_cannot_be_compared_is_explained(run: Run, tmp_path: Path, capsys: Said) -> None:
    assert run(*TINY, "hydra.run.dir=one") == 0
    assert run(*TINY, "hydra.run.dir=other", "dataset.validation_examples=30") == 0
    assert run(*TINY, "hydra.run.dir=text", "task=text_generation") == 0
    assert run(*TINY, "hydra.run.dir=bad", "training.learning_rate=1e9", "training.max_grad_norm=null") == 2
    capsys.readouterr()

    def refused(*arguments: str) -> str:
        assert run("compare", *arguments) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    assert "compare needs runs" in refused()
    assert "two runs that ended well, or more: one was given" in refused("one")
    assert "bad is left out: it failed (training.learning_rate: the loss is" in refused("one", "bad")
    assert "different tasks" in refused("one", "text")
    assert "there is no run nix" in refused("one", "nix")
    assert "no run matches nix*" in refused("nix*")
    assert run("compare", "one", "other") == 0
    assert "evaluated on different rows" in capsys.readouterr().out
    state = json.loads((tmp_path / "bad" / "state.json").read_text())
    assert state["state"] == "failed"
