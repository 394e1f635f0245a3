"""A built wheel is the whole program: its configs, data and model are inside, and it runs from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

pytest.importorskip("hatchling")
pytest.importorskip("build")
CONF = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml"))
SHIPPED = sorted(
    str(path.relative_to(ROOT))
    for folder in ("data", "tokenizer", "model")
    for path in (ROOT / "llama_experiments" / "embedded" / folder).rglob("*")
    if path.is_file()
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, and a wheel built from it: what a release is."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_configs_data_and_model(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names))
    configs = [name for name in names if name.startswith("llama_experiments/conf/")]
    assert sorted(configs) == [f"llama_experiments/{name}" for name in CONF]
    assert set(SHIPPED) <= set(names)
    packages = ("llama_experiments", "hydra_plugins")
    modules = [str(path.relative_to(ROOT)) for name in packages for path in (ROOT / name).rglob("*.py")]
    assert sorted(name for name in names if name.endswith(".py")) == sorted(modules)
    for name in names:
        source = ROOT / name if not name.startswith("llama_experiments/conf/") else ROOT / name.split("/", 1)[1]
        assert wheel.read(name) == source.read_bytes(), name
    # Nothing of the tests, and nothing that a run or a tool left.
    assert {name.split("/")[0] for name in names} == set(packages)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_what_is_embedded_is_small() -> None:
    assert SHIPPED
    assert sum((ROOT / name).stat().st_size for name in SHIPPED) <= 5_000_000


def test_the_source_distribution_can_be_tested(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert set(CONF) <= names
    assert set(SHIPPED) <= names
    needed = {"pyproject.toml", "constraints.txt", "Makefile", "README.md", "LICENSE", "tests/conftest.py"}
    assert needed <= names
    assert not [name for name in names if name.startswith((".venv", "outputs")) or name.endswith(".pyc")]


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    wheel.extractall(folder)
    return folder


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` with the wheel and without the checkout."""
    # -P: not even a folder of that name in the working folder is taken; an editable install comes after PYTHONPATH.
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-P", *command], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def test_it_composes_from_another_folder(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import llama_experiments; print(llama_experiments.__file__)")
    assert where.stdout.strip() == str(installed / "llama_experiments" / "__init__.py")
    done = run(installed, tmp_path, "-m", "llama_experiments", "--cfg", "job", "task=text_generation")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["task"]["_target_"].startswith("llama_experiments.tasks.text_generation.")
    done = run(installed, tmp_path, "-m", "llama_experiments", "training.epohcs=2", "model=embeded")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["model", "training.epohcs"]
    assert not list(tmp_path.iterdir())


def test_it_runs_from_another_folder(installed: Path, tmp_path: Path) -> None:
    """Its own model on its own data: a few rows, for the sake of seconds."""
    settings = ["dataset.train_examples=16", "dataset.validation_examples=16", "training.epochs=1"]
    settings += ["training.save_model=none", "hydra.run.dir=run"]
    done = run(installed, tmp_path, "-m", "llama_experiments", *settings)
    assert done.returncode == 0, done.stderr
    assert "Epoch 1/1  training loss " in done.stdout
    assert (tmp_path / "run" / "report.md").exists()
    assert str(ROOT) not in (tmp_path / "run" / "environment.json").read_text()
