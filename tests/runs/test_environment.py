"""What a run's numbers depend on: versions, commit, data and starting weights, each by its content."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from llama_experiments.data.rows import Rows, load_rows
from llama_experiments.data.sources import LocalFiles
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.hashes import tensor_hashes, weights_hash
from llama_experiments.runs import environment
from llama_experiments.runs.environment import PACKAGES, git_state
from llama_experiments.tasks.classification import SequenceClassification
from tests.conftest import ROOT, sentences, write_table
from tests.runs.conftest import Finished


def test_what_a_run_depended_on(finished: Finished, model_folder: Path) -> None:
    told = json.loads(finished.folder.environment.read_text())
    assert list(told) == ["command", "versions", "git", "device", "data", "model"]
    assert told["versions"]["python"] == platform.python_version()
    installed = {package.metadata["Name"].lower(): package.version for package in metadata.distributions()}
    assert {name: installed.get(name) for name in PACKAGES} == {  # an extra that is not installed is null
        name: version for name, version in told["versions"].items() if name != "python"
    }
    assert told["git"] == git_state(ROOT)
    assert "training.epochs=2" in told["command"]
    assert told["device"]["processes"] == 1
    assert told["device"]["threads"] == torch.get_num_threads()
    train, validation = told["data"]["train"], told["data"]["validation"]
    assert train["files"] == [str(finished.home / "train.csv")]
    assert (train["source"], train["rows"], train["left_out"]) == ("train.csv", 48, {})
    assert (validation["rows"], validation["left_out"]) == (20, {"an empty text": 1})
    assert train["hash"] != validation["hash"]
    task = SequenceClassification(max_length=48, labels=["negative", "positive"])
    loaded = Checkpoint(checkpoint=str(model_folder)).load(task, seed=0)
    assert told["model"]["starting_weights_hash"] == weights_hash(tensor_hashes(loaded.model))
    assert told["model"]["fresh"] == ["score.weight"]
    assert told["model"]["pad_token_id"] == loaded.model.config.pad_token_id


def rows_of(tmp_path: Path, table: list[tuple[str, str]]) -> Rows:
    file = str(write_table(tmp_path / "rows.csv", [*table]))
    return load_rows(LocalFiles(train=file, validation=file), SequenceClassification())["train"]


def test_a_data_sets_hash_is_of_its_rows(tmp_path: Path) -> None:
    rows = sentences(6)
    first = rows_of(tmp_path, rows).content_hash
    assert rows_of(tmp_path, list(rows)).content_hash == first
    changed = [(rows[0][0] + "!", rows[0][1]), *rows[1:]]
    relabelled = [(rows[0][0], rows[1][1]), *rows[1:]]
    for other in (changed, relabelled, rows[::-1], rows[:-1]):
        assert rows_of(tmp_path, other).content_hash != first


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one file, which stands for this module's."""
    for name, value in {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}.items():
        monkeypatch.setenv(name, value)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@localhost")
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "environment.py").write_text("1\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    monkeypatch.setattr(environment, "__file__", str(folder / "environment.py"))
    return folder


def test_the_commit_and_whether_files_differ_from_it(checkout: Path) -> None:
    head = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert git_state(checkout) == {"commit": head.stdout.strip(), "changed": False}
    (checkout / "outputs").touch()  # files that git does not know change nothing
    assert git_state(checkout) == {"commit": head.stdout.strip(), "changed": False}
    (checkout / "environment.py").write_text("2\n")
    assert git_state(checkout) == {"commit": head.stdout.strip(), "changed": True}


def test_somebody_elses_repository_is_not_ours(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkout / ".venv" / "environment.py"
    installed.parent.mkdir()
    installed.touch()
    monkeypatch.setattr(environment, "__file__", str(installed))
    assert git_state(installed.parent) is None


def test_no_checkout_and_no_git(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None
