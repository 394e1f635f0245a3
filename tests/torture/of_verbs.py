"""Bad inputs of the verbs that take a trained run, or one to go on with."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.torture.killed import At, command
from tests.torture.mutations import (
    FORMATS,
    LLAMA,
    OF_A_RUN,
    RUN1,
    Case,
    Change,
    bytes_of,
    change_file,
    change_json,
    change_lines,
    change_yaml,
)

TRAINED, STOPPED = "outputs/2026-01-01/trained", "outputs/2026-01-01/stopped"
TRAINED_FILES = (
    *OF_A_RUN,
    "model/config.json",
    "model/model.safetensors",
    "model/tokenizer.json",
    "model/tokenizer_config.json",
)
CHECKPOINT = f"{STOPPED}/checkpoints/step-00000002"
STOPPED_FILES = (
    "run.json",
    "state.json",
    "epochs.jsonl",
    "steps.jsonl",
    "environment.json",
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    "checkpoints/step-00000002/state.json",
    "checkpoints/step-00000002/weights.safetensors",
    "checkpoints/step-00000002/optimizer.safetensors",
)
ROWS = tuple(name for name in FORMATS if name != "squad.json")


def prepare_runs(template: Path) -> None:
    """A run with its trained model, and one that was killed after its second step."""
    small = ["training.epochs=1", "dataset.train_examples=24", "dataset.validation_examples=8", *LLAMA]
    assert command(template, [*small, f"hydra.run.dir={TRAINED}"]) == 0
    often = ["training.checkpoint.every_steps=1", "training.batch_size=8"]
    assert command(template, [*small, *often, f"hydra.run.dir={STOPPED}"], At("step", 3)) != 0
    assert (template / CHECKPOINT).is_dir()


def verbs(r: random.Random) -> Iterator[Case]:
    """Damaged runs and rows for evaluate, predict, resume, sync and plan, and their own arguments."""
    while True:
        way = r.randrange(6)
        if way == 0:
            verb = r.choice((["evaluate", TRAINED], ["predict", TRAINED, "--input", "rows.csv"]))
            yield _damaged(verb, TRAINED, r.choice(TRAINED_FILES), r)
        elif way == 1:
            yield _damaged(["resume", STOPPED], STOPPED, r.choice(STOPPED_FILES), r)
        elif way == 2:
            file = r.choice(("tracker.json", "run.json", "epochs.jsonl", "steps.jsonl", "../../mlflow.db"))
            yield _damaged(["sync", RUN1], RUN1, file, r)
        elif way == 3:
            file = r.choice(ROWS)
            name, change = r.choice(list(bytes_of()))
            yield Case(
                name="",
                what=f"predict, {file}: {name}",
                arguments=["predict", TRAINED, "--input", file, "--output", "predicted.jsonl"],
                change=change_file(file, change),
                hints=(file,),
            )
        elif way == 4:
            yield _damaged(["plan", *LLAMA], "llama", r.choice(("config.json", "tokenizer.json")), r)
        else:
            words = r.choice(WORDS)
            yield Case(name="", what=" ".join(words)[:80], arguments=words, expected="bad")


def _damaged(verb: list[str], folder: str, name: str, r: random.Random) -> Case:
    """A verb on a folder of which one file is changed, gone, or a folder itself."""
    file = f"{folder}/{name}"
    way = r.randrange(4)
    if way == 0 and name.endswith((".json", ".jsonl", ".yaml")):
        change: Change = {".json": change_json, ".jsonl": change_lines, ".yaml": change_yaml}[Path(name).suffix](file)
        return Case(name="", what=f"{verb[0]}, {file}: a value", arguments=verb, change=change)
    if way == 1:
        return Case(name="", what=f"{verb[0]}, {file}: gone", arguments=verb, change=lambda f, _: (f / file).unlink())
    if way == 2:

        def change_kind(place: Path, _: random.Random) -> None:
            (place / file).unlink()
            shutil.copytree(place / "llama", place / file)

        return Case(name="", what=f"{verb[0]}, {file}: a folder", arguments=verb, change=change_kind)
    way_of_bytes, damage = r.choice(list(bytes_of()))
    return Case(name="", what=f"{verb[0]}, {file}: {way_of_bytes}", arguments=verb, change=change_file(file, damage))


WORDS: tuple[list[str], ...] = (
    ["evaluate"],
    ["evaluate", "nothing"],
    ["evaluate", RUN1],  # no weights were kept
    ["evaluate", TRAINED, RUN1],
    ["evaluate", TRAINED, "part=x"],
    ["evaluate", TRAINED, "part=test"],  # there is none
    ["evaluate", TRAINED, "training.epochs=2"],
    ["evaluate", TRAINED, "name=../x"],
    ["evaluate", TRAINED, "dataset.validation=nothing.csv"],
    ["evaluate", TRAINED, "dataset=local_squad", "dataset.validation=squad.json"],
    ["evaluate", TRAINED, "task=text_generation"],
    ["evaluate", TRAINED, "model.checkpoint=nothing"],
    ["evaluate", TRAINED, "x=1"],
    ["evaluate", TRAINED, "--x"],
    ["evaluate", STOPPED],
    ["predict"],
    ["predict", TRAINED],
    ["predict", TRAINED, "--input"],
    ["predict", TRAINED, "--input", "nothing.csv"],
    ["predict", TRAINED, "--input", "llama"],
    ["predict", TRAINED, "--input", "squad.json"],
    ["predict", TRAINED, "--input", "rows.csv", "--output", "outputs"],
    ["predict", TRAINED, "--input", "rows.csv", "--output", "rows.csv"],
    ["predict", TRAINED, "--input", "rows.csv", "--output", "x.xlsx"],
    ["predict", TRAINED, "--input", "rows.csv", "--format", "xml"],
    ["predict", TRAINED, "--input", "rows.txt", "--input-format", "parquet"],
    ["predict", TRAINED, "--input", "rows.csv", "training.epochs=1"],
    ["predict", TRAINED, "--input", "rows.csv", "task.x=1"],
    ["predict", RUN1, "--input", "rows.csv"],
    ["predict", TRAINED, "--input", "-"],  # which is empty
    ["resume"],
    ["resume", "nothing"],
    ["resume", TRAINED],
    ["resume", RUN1],
    ["resume", STOPPED, RUN1],
    ["resume", STOPPED, "training.epochs=2"],
    ["resume", STOPPED, "seed=1"],
    ["resume", STOPPED, "x=1"],
    ["resume", STOPPED, "training.micro_batch_size=x"],
    ["resume", STOPPED, "tracker.uri=bad://x"],
    ["resume", STOPPED, "--x"],
    ["resume", "f" * 32],
    ["sync"],
    ["sync", "nothing*"],
    ["sync", RUN1, "tracker.uri=bad://x"],
    ["sync", RUN1, "tracker.url=x"],
    ["sync", RUN1, "tracker.uri=sqlite:///rows.csv"],
    ["sync", RUN1, "tracker.log_model=yes"],
    ["sync", "rows.csv"],
    ["plan", "x=1"],
    ["plan", "training.epochs=x"],
    ["plan", "model=nothing"],
    ["plan", "training.batch_size=1,2"],
    ["plan", "-m", "training.batch_size=8,x"],
    ["plan", "--rows", *LLAMA, "dataset=local_sentiment", "dataset.train=nothing.csv"],
    ["plan", "--x"],
    ["plan", "model=local", "model.checkpoint=rows.csv"],
    ["plan", *LLAMA, "training.processes=-1"],
)
