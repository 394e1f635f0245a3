"""The entrypoint: verbs, options in any order, exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llama_experiments import cli
from llama_experiments.command_line.composition import compose_command
from llama_experiments.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "there is no command 'trian'"),
        (["training.epochs"], "overrides are written setting=value"),
        (["ui", "port=abc"], "port: must be a number from 1 to 65535, not 'abc'"),
        (["ui", "port=70000"], "not '70000'"),
        (["ui", "trackr.uri=x"], "did you mean 'tracker'"),
        (["--mutlirun"], "did you mean '--multirun'"),
        (["--config-dir"], "expected one argument"),
    ],
)
def test_a_mistake_has_status_two(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_options_and_overrides_in_any_order() -> None:
    options = cli.parse_options(["seed=1", "--config-dir", "x", "-m", "training.epochs=2"])
    assert (options.overrides, options.config_dir, options.multirun) == (["seed=1", "training.epochs=2"], "x", True)


def test_the_shell_completes_choices_and_settings() -> None:
    for word, found in (("technique=lo", "technique=lora"), ("training.learning_r", "training.learning_rate=")):
        line = f"llama-experiments {word}"
        asked = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
        command = [sys.executable, "-m", "llama_experiments", "-sc", "query=bash"]
        done = subprocess.run(command, env=asked, capture_output=True, text=True)
        assert done.stdout.split() == [found], done.stderr


def test_an_interrupted_run_has_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_arguments", interrupted)
    assert cli.main([]) == 130


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "epochs.jsonl").touch()
    composition = compose_command([f"hydra.run.dir={tmp_path}"])
    with pytest.raises(UserError, match="belongs to another run already"):
        cli._check_folder(composition, cli.RUN)
