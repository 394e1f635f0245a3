"""The fuzz script itself: its cases are the same each time, and its judge sees what is wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture.judge import Outcome, verdict
from tests.torture.kinds import KINDS, cases
from tests.torture.mutations import Case, bytes_of, change_tree, write_data


def test_there_are_enough_and_they_can_be_had_again() -> None:
    made = [(case.name, case.what, case.arguments) for case in cases(0)]
    assert made == [(case.name, case.what, case.arguments) for case in cases(0)]
    assert len(made) >= 300
    assert {name.partition(" ")[0] for name, _, _ in made} == KINDS.keys()
    assert len({tuple(arguments) for _, _, arguments in made}) > 100
    assert [case.what for case in cases(0, ["runs"], 9)] != [case.what for case in cases(1, ["runs"], 9)]


@pytest.mark.parametrize("kind", ["data"])
def test_a_change_changes_the_input(kind: str, tmp_path: Path) -> None:
    write_data(tmp_path)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = 0
    for case in cases(0, [kind], 40):
        case.change(tmp_path, random.Random(case.name))
        changed += any((tmp_path / name).read_bytes() != data for name, data in whole.items())
        for name, data in whole.items():
            (tmp_path / name).write_bytes(data)
    assert changed >= 20  # the others are wrong on the command line


def test_every_way_takes_any_bytes() -> None:
    for name, way in bytes_of():
        for data in (b"{}", b"a\nb\nc\n", bytes(range(256))):
            assert isinstance(way(data, random.Random(1)), bytes), name


def test_a_value_of_a_tree_is_changed() -> None:
    tree = {"a": [1, {"b": 2}], "c": "d"}
    before = repr(tree)
    change_tree(tree, random.Random(2))
    assert repr(tree) != before


BAD = Case(name="x 1", what="", arguments=["training.epochs=x"], expected="bad", hints=("training.epochs",))
GOOD = Case(name="x 2", what="", arguments=[], expected="good")


@pytest.mark.parametrize(
    ("case", "status", "said", "new", "words"),
    [
        (BAD, 2, "training.epochs: must be a whole number\n", [], ""),
        (BAD, None, "", [], "hangs"),
        (BAD, 1, "Traceback (most recent call last):\n  File\nKeyError: 'x'\n", [], "KeyError"),
        (BAD, -11, "", [], "signal 11"),
        (BAD, 0, "", [], "accepted"),
        (BAD, 2, "", [], "says nothing"),
        (BAD, 2, "something is wrong\n", [], "does not say where"),
        (BAD, 70, "x", [], "exit status 70"),
        (BAD, 2, "training.epochs\n", ["outputs/.report.md.abc123"], "leaves outputs/.report.md"),
        (BAD, 2, "training.epochs\n", ["outputs/cache/.tokens-x1"], "leaves outputs/cache/.tokens"),
        (BAD, 2, "training.epochs\n", ["run/.hydra", "run/.hydra/config.yaml"], "never began"),
        (BAD, 2, "training.epochs\n", ["run/epochs.jsonl"], "half a run"),
        (GOOD, 2, "no\n", [], "it is refused: no"),
        (GOOD, 0, "", ["run/epochs.jsonl"], "unfinished run"),
        (GOOD, 0, "", ["run/.hydra", "run/.lock", "outputs/.mlflow.db.lock"], ""),
    ],
)
def test_the_judge(case: Case, status: int | None, said: str, new: list[str], words: str, tmp_path: Path) -> None:
    found = verdict(case, Outcome(status, said, tmp_path, new, 0.1))
    assert (words in found) if words else not found
