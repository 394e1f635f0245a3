"""Whether a run goes on, ended well, or did not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llama_experiments.errors import UserError
from llama_experiments.runs.state import Held, is_held, read_state


def test_a_state_is_what_was_told_last(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    held = Held(tmp_path)
    held.tell("running")
    assert is_held(tmp_path)
    assert (state := read_state(tmp_path)) is not None
    assert state.state == "running"
    held.tell("failed", "the loss is nan")
    held.release()
    assert not is_held(tmp_path)
    assert (state := read_state(tmp_path)) is not None
    assert (state.state, state.reason) == (
        "failed",
        "the loss is nan",
    )


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    held = Held(tmp_path)
    with pytest.raises(UserError, match="another process"):
        Held(tmp_path)
    held.release()
    Held(tmp_path).release()


def test_a_process_that_dies_leaves_a_killed_run(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from llama_experiments.runs.state import Held\n"
        "held = Held(Path(sys.argv[1])); held.tell('running'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert json.loads((tmp_path / "state.json").read_text())["state"] == "running"
    assert (state := read_state(tmp_path)) is not None
    assert state.state == "killed"
