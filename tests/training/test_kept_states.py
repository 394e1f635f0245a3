"""Files of states: found by key, removed when they are old, made by one process at a time."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from llama_experiments.training.kept_states import KeptStates

SHAPE = (10, 4)


def keep(kept: KeptStates, key: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    with kept.new(key, SHAPE, dtype, kept=True) as place:
        place.mapped().fill_(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_was_written_is_found(dtype: torch.dtype, tmp_path: Path) -> None:
    kept = KeptStates(tmp_path, 1000)
    assert kept.find("a", SHAPE) is None
    keep(kept, "a", 1.5, dtype)
    found = kept.find("a", SHAPE)
    assert found is not None
    assert torch.equal(found.mapped(), torch.full(SHAPE, 1.5, dtype=dtype))
    assert kept.find("a", (11, 4)) is None  # a file of another size is none
    found.mapped().fill_(2.0)  # stays in memory
    assert torch.equal(found.mapped(), torch.full(SHAPE, 1.5, dtype=dtype))


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    kept = KeptStates(tmp_path, 3 * 160)
    for age, key in ((30, "a"), (20, "b"), (10, "c")):
        keep(kept, key, 1.0)
        (file,) = tmp_path.glob(f"{key}.*")
        os.utime(file, (time.time() - age, time.time() - age))
    mapped = (found := kept.find("a", SHAPE)) and found.mapped()  # used now, and so the newest
    keep(kept, "d", 2.0)
    assert sorted(file.name[0] for file in tmp_path.iterdir()) == ["a", "c", "d"]
    keep(kept, "e", 2.0)
    keep(kept, "f", 2.0)
    assert sorted(file.name[0] for file in tmp_path.iterdir()) == ["d", "e", "f"]
    assert mapped is not None
    assert torch.equal(mapped, torch.ones(SHAPE))  # who maps it keeps it


def test_what_fails_or_is_not_to_be_kept_leaves_nothing(tmp_path: Path) -> None:
    kept = KeptStates(tmp_path, 1000)
    with kept.new("a", SHAPE, torch.float32, kept=False) as place:
        numbers = place.mapped().fill_(3.0)
    assert torch.equal(numbers, torch.full(SHAPE, 3.0))
    with pytest.raises(ZeroDivisionError), kept.new("a", SHAPE, torch.float32, kept=True) as place:
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    kept = KeptStates(tmp_path, 1000)
    for left in (".a.float32.x1y2", ".a.lock"):
        (tmp_path / left).write_bytes(b"half")
    (tmp_path / ".b.float32.x1y2").write_bytes(b"another's")
    with kept.held("a", lambda: None):
        assert sorted(file.name for file in tmp_path.iterdir()) == [".a.lock", ".b.float32.x1y2"]
    assert [file.name for file in tmp_path.iterdir()] == [".b.float32.x1y2"]


def make_once(folder: Path, made: Path) -> None:
    kept = KeptStates(folder, 1000)
    with kept.held("a", lambda: None):
        if kept.find("a", SHAPE) is None:
            with made.open("a") as stream:
                stream.write("x")
            time.sleep(0.2)
            keep(kept, "a", 1.0)


def test_of_several_processes_one_makes_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    made = tmp_path / "made"
    processes = [context.Process(target=make_once, args=(tmp_path / "trunk", made)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert made.read_text() == "x"
    assert [file.name for file in (tmp_path / "trunk").iterdir()] == ["a.float32"]
