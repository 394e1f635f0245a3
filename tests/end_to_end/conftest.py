"""Commands that must be refused: run in this process, in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from llama_experiments.cli import main

Refused = Callable[..., str]
COMMAND_LINE = "(set on the command line)"


def left_behind(folder: Path) -> set[str]:
    """Everything in a folder but tokenized rows, which are kept on purpose."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "cache" not in path.parts}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., int]:
    """Run a command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["llama_experiments"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path.parent / "huggingface"))

    def go(*arguments: str) -> int:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        return main(arguments)

    return go


@pytest.fixture
def refused(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command line that must be refused; returns what is said."""

    def go(*arguments: str) -> str:
        before = left_behind(tmp_path)
        status = run(*arguments)
        said = capsys.readouterr().err
        assert status == 2, said
        assert "Traceback" not in said
        assert 1 <= len(said.splitlines()) <= 4, said
        assert left_behind(tmp_path) - before <= {"outputs"}
        return said

    return go
