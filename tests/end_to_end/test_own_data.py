"""A data set of one's own, from the README alone: one YAML file in one's own folder."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llama_experiments.command_line.composition import compose_command
from llama_experiments.config import build
from llama_experiments.data.sources import Dataset, HubDataset
from tests.conftest import ROOT, sentences, write_table


def written_in_the_readme(target: str) -> str:
    """The example with this target, as a reader would copy it."""
    lines = (ROOT / "README.md").read_text().splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.strip() == f"_target_: {target}"]
    return textwrap.dedent("\n".join(lines[start : lines.index("", start)]))


def test_the_readmes_data_set_runs(
    run: Callable[..., int], local_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_conf" / "dataset").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    example = written_in_the_readme("llama_experiments.data.sources.LocalFiles")
    (tmp_path / "my_conf" / "dataset" / "reviews.yaml").write_text(example)
    for number, name in enumerate(("train-1", "train-2", "dev", "test")):
        rows = [(text, int(label == "positive")) for text, label in sentences(16, start=100 * number)]
        write_table(tmp_path / "data" / f"{name}.csv", [*rows], header=("review", "stars"))
    model = [setting for setting in local_run if not setting.startswith("dataset")]
    arguments = [*model, "--config-dir", "my_conf", "dataset=reviews", "hydra.run.dir=run"]
    assert run(*arguments) == 0
    said = capsys.readouterr().out
    for told in ("32 rows of train-1.csv, train-2.csv", "16 rows of dev.csv", "16 rows of test.csv"):
        assert told in said
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["id2label"] == {
        "0": "bad",
        "1": "good",
    }
    data = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]
    assert [len(part["files"]) for part in data.values()] == [2, 1, 1]


def test_the_readmes_data_set_of_the_hub_is_ours() -> None:
    example = yaml.safe_load(written_in_the_readme("llama_experiments.data.sources.HubDataset"))
    ours = compose_command(["dataset=yelp_polarity"]).tree["dataset"]
    built = build(example, Dataset, path="dataset")
    assert isinstance(built, HubDataset)
    assert built == build(ours, Dataset, path="dataset")
