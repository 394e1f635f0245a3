"""Before anything is computed: help and checks are quick, and every file in conf/ composes and passes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_experiments.command_line.composition import Composition, compose_command
from llama_experiments.command_line.config_files import CONF
from llama_experiments.config import build
from llama_experiments.experiment import Experiment
from tests.conftest import ROOT

PROBE = """
import json, sys
from llama_experiments.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as left:  # Hydra's --help leaves by itself
    status = left.code or 0
heavy = [name for name in ("torch", "transformers", "datasets", "mlflow") if name in sys.modules]
print(json.dumps([status, heavy]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--cfg", "job"], 0),
        (["training.epohcs=1"], 2),
        (["model=local", "dataset=local_sentiment"], 2),
        (["model=llama2_7b", "dataset=imdb"], 2),
    ],
)
def test_no_library_is_imported_before_a_run(arguments: list[str], status: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert json.loads(done.stderr.splitlines()[-1]) == [status, []], done.stderr
    assert not list(tmp_path.iterdir())


# What the files leave to the user.
DUMMY = {
    "checkpoint": "meta-llama/dummy",
    "train": "train.csv",
    "validation": "validation.csv",
    "tokenizer": "folder",
}
# The files at the top of conf/ and the groups; each file of a group is tried with the others' defaults.
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
FILES = sorted(CONF.rglob("*.yaml"))


def composed(file: Path) -> Composition:
    """The experiment with a file of conf/ in it."""
    if file.parent == CONF:
        return compose_command([], name=file.stem)
    group, _, choice = str(file.relative_to(CONF).with_suffix("")).partition("/")
    text = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    missing = [f"{group}.{key}={DUMMY[key]}" for key, value in text.items() if value == "???"]
    return compose_command([f"{group}={choice}", *missing, *task_of(file, text)])


def task_of(file: Path, text: dict[str, Any]) -> list[str]:
    """A data set goes with the task that reads its columns."""
    if file.parent.name != "dataset":
        return []
    tasks = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
    by_name = [name for name in tasks if file.stem.endswith(name)]
    columns = text.get("columns") or {"text": "text"}
    for name in by_name or tasks:
        task = build(compose_command([f"task={name}"]).tree, Experiment).task
        if by_name or set(columns) == set(task.columns):
            return [f"task={name}"]
    raise AssertionError(f"no task reads {sorted(columns)}")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_every_config_passes_the_check(file: Path) -> None:
    composition = composed(file)
    experiment = build(composition.tree, Experiment, composition.origin)
    assert set(experiment.dataset.columns) <= set(experiment.task.columns)
    if file.parent.name in ("model", "dataset", "task", "technique", "training", "tracker"):
        assert composition.choices[file.parent.name] == file.stem


PRESETS = {"experiment", "seed", "stand_in"}  # folders of settings of several groups


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if file.parent != CONF and file.parent.name not in PRESETS],
    ids=lambda file: str(file.relative_to(CONF)),
)
def test_every_group_file_is_a_constructor_call(file: Path) -> None:
    written = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    if written[0] == "defaults:":  # made of others: theirs come first
        written = [line for line in written[1:] if not line.startswith("  - ")]
    assert written[0].startswith("_target_: llama_experiments.")


def test_no_config_is_left_out() -> None:
    on_disk = [path for path in CONF.rglob("*") if path.is_file()]
    assert len(on_disk) == len(FILES) >= 28, "a file that is no YAML, or is not tried above"
    # A group is one field of the experiment; presets are the one folder more.
    fields = set(Experiment.__dataclass_fields__)
    assert set(GROUPS) - fields <= {"experiment", "stand_in", "sweep", "hydra"}
    nested = {path.parent.name for path in FILES if path.parent != CONF and path.parent.parent != CONF}
    assert nested <= {"seed", "sweep"}
