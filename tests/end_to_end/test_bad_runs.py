"""Run folders that were edited, cut off or sent by somebody; most of these were found by `tests.torture.fuzz`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from llama_experiments.command_line.composition import compose_command
from tests.end_to_end.conftest import Refused

Said = pytest.CaptureFixture[str]
DATA = {"hash": "a" * 64, "rows": 2, "source": "x.csv", "files": []}
FILES: dict[str, Any] = {
    "environment.json": {
        "data": {"train": DATA, "validation": DATA},
        "device": {"threads": 1},
        "model": {"starting_weights_hash": "b"},
        "versions": {},
        "git": None,
    },
    "result.json": {
        "task": "sentiment",
        "technique": "full",
        "epoch": 1,
        "eval_loss": 0.5,
        "item": "review",
        "items": 2,
        "metrics": {"accuracy": 0.5},
        "metric": "accuracy",
        "higher_is_better": True,
        "learning_rate": 1e-3,
        "parameters": 1,
        "trainable_parameters": 1,
        "peak_memory_growth": None,
        "seconds": 1.0,
        "tuning_seconds": 0.0,
        "tokens_per_second": 1.0,
    },
    "movement.json": {"a": {"after": "c"}},
    "state.json": {"state": "finished"},
    "run.json": {"tags": {"task": "sentiment", "technique": "full"}},
}


@pytest.fixture
def saved(tmp_path: Path, local_run: list[str]) -> Path:
    """Two runs as they leave their files, without the weights."""
    tree = compose_command(local_run).tree
    for name in ("a", "b"):
        folder = tmp_path / "runs" / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(tree))
        for file, content in FILES.items():
            (folder / file).write_text(json.dumps(content))
        (folder / "epochs.jsonl").write_text('{"epoch": 0}\n')
        (folder / "steps.jsonl").write_text('{"epoch": 1, "step": 1}\n')
        table = {"row": [1, 2], "metric_sum": [1.0, 0.0], "metric_count": [1, 1]}
        pq.write_table(pa.table(table), folder / "predictions.parquet")
    return tmp_path / "runs" / "a"


def test_the_runs_are_good_ones(saved: Path, run: Callable[..., int], capsys: Said) -> None:
    assert run("compare", "runs/a", "runs/b") == 0, capsys.readouterr().err
    assert run("runs", "runs") == 0
    assert "0.5000" in capsys.readouterr().out


DEEP = "[" * 100_000
OF_COMPARE = ("result.json", "environment.json")
OF_REPRODUCE = ("environment.json", "movement.json", "steps.jsonl", "epochs.jsonl")


@pytest.mark.parametrize("text", ["", "{", DEEP, "[]\n", "null\n", '{"x": 1}\n', "\ud800", '{"a": {"b": 1}}\n'])
@pytest.mark.parametrize("verb", ["compare", "reproduce"])
def test_a_damaged_file(verb: str, text: str, refused: Refused, saved: Path) -> None:
    for name in OF_COMPARE if verb == "compare" else OF_REPRODUCE:
        whole = (saved / name).read_bytes()
        (saved / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        if not (name.endswith("jsonl") and text in ("", "{", DEEP, "\ud800")):  # a torn last line is one of a kill
            assert f"runs/a/{name}" in refused(verb, "runs/a", *(["runs/b"] if verb == "compare" else []))
        (saved / name).write_bytes(whole)


@pytest.mark.parametrize(
    "columns",
    [
        None,
        {"row": [1, 2]},
        {"row": [1, 2], "metric_sum": ["a", "b"], "metric_count": [1, 1]},
        dict.fromkeys(("row", "metric_sum", "metric_count"), pa.array([], pa.int64())),
    ],
)
def test_damaged_predictions(columns: dict[str, Any] | None, refused: Refused, saved: Path) -> None:
    file = saved / "predictions.parquet"
    if columns is None:
        file.write_bytes(file.read_bytes()[:-30])
    else:
        pq.write_table(pa.table(columns), file)
    assert "runs/a/predictions.parquet is damaged" in refused("compare", "runs/a", "runs/b")


@pytest.mark.parametrize("name", ["state.json", "result.json", "run.json"])
@pytest.mark.parametrize(
    "text", ["", DEEP, "[1]", '{"tags": [1], "state": 3, "eval_loss": []}', '{"tags": {"task": 1}}']
)
def test_a_damaged_run_is_listed(name: str, text: str, run: Callable[..., int], saved: Path, capsys: Said) -> None:
    (saved / name).write_text(text)
    assert run("runs", "runs") == 0
    told = capsys.readouterr().out
    assert "runs/a" in told
    assert "runs/b" in told


def test_what_a_terminal_would_follow_is_not_printed(run: Callable[..., int], saved: Path, capsys: Said) -> None:
    (saved / "run.json").write_text(json.dumps({"tags": {"task": "\x1b]0;x\x07"}}))
    assert run("runs", "runs") == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs", "x" * 300], "file name too long"),
        (["compare", "x" * 5000, "y"], "file name too long"),
        (["reproduce", "x" * 300], "file name too long"),
        (["output_dir=" + "x" * 300], "file name too long"),
        (["runs", "limit=\u00b2"], "must be a number from 1"),
        (["ui", "port=\u00b2"], "must be a number from 1"),
        (["ui", "output_dir=train.csv"], "output_dir: train.csv is a file"),
        (["ui", "tracker.uri=bad://x"], "tracker.uri: must be an address"),
        (["ui", "tracker.uri=sqlite:///train.csv"], "train.csv is no SQLite database"),
        (["reproduce", "f" * 32, "tracker.uri=http://["], "tracker.uri must be an address"),
        (["dataset._target_=llama_experiments.data.sources.Dataset"], "dataset._target_: "),
        (["~dataset._target_"], "dataset._target_: is required"),
        (["technique._target_=llama_experiments..x"], "there is no module"),
    ],
)
def test_words_of_a_command(arguments: list[str], words: str, refused: Refused, local_run: list[str]) -> None:
    assert words in refused(*arguments)
