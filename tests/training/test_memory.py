"""The highest point of memory: what is taken counts, what was freed before does not; freezing spares it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from llama_experiments.training import memory
from llama_experiments.training.memory import PeakMemory
from tests.conftest import Command

CPU = torch.device("cpu")
MB = 10**6


def counted() -> bool:
    """Whether this system tells: not macOS, not musl, not every sandbox."""
    return PeakMemory(CPU).growth() is not None


needs_counting = pytest.mark.skipif(not counted(), reason="this system does not tell the resident memory")


def take(megabytes: int) -> torch.Tensor:
    """Memory that is really there, for it is written to."""
    return torch.ones(megabytes * MB // 4)


@needs_counting
def test_what_is_taken_and_freed_again_counts() -> None:
    peak = PeakMemory(CPU)
    taken = take(200)
    del taken
    growth = peak.growth()
    assert growth is not None
    assert 195 * MB <= growth <= 240 * MB
    assert peak.growth() == growth  # asking changes nothing
    larger = take(300)
    assert peak.growth() >= 295 * MB  # type: ignore[operator]
    del larger


@needs_counting
def test_a_peak_before_does_not_count() -> None:
    taken = take(300)
    del taken
    peak = PeakMemory(CPU)
    small = take(20)
    growth = peak.growth()
    del small
    assert growth is not None
    assert 15 * MB <= growth <= 100 * MB


@needs_counting
def test_what_the_allocator_keeps_of_before_hides_nothing() -> None:
    """Small blocks below one that stays in use are not given back by themselves, and would be taken again."""

    def blocks() -> list[bytes]:
        return [bytes(1000) for _ in range(100_000)]

    before = blocks()
    stays = before[-1]
    del before
    peak = PeakMemory(CPU)
    again = blocks()
    growth = peak.growth()
    del again, stays
    assert growth is not None
    assert growth >= 80 * MB


def test_where_the_system_does_not_tell_there_is_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "RESET", tmp_path / "none" / "clear_refs")
    assert PeakMemory(CPU).growth() is None
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert PeakMemory(CPU).growth() is None


SHAPE = [
    "model=embedded_from_scratch",
    *("model.hidden_size=384", "model.intermediate_size=1024", "model.num_hidden_layers=8"),
    "model.num_key_value_heads=6",
]
# Few short rows: the less the passes take, the more of the figure is what is held for the weights.
ROWS = {
    "sentiment": ["dataset.train_examples=24"],
    "text_generation": ["dataset.train_examples=6", "dataset.sample_by=document", "task.max_length=48"],
}


@needs_counting
@pytest.mark.parametrize("task", ROWS)
def test_head_only_training_takes_at_most_two_fifths_of_full_fine_tunings_growth(
    task: str, command: Command, tmp_path: Path
) -> None:
    """15M parameters, a few steps, each in a process of its own; the model is loaded before the counting begins."""

    def growth(technique: str) -> int:
        folder = tmp_path / technique  # and a store of its own, for the two make theirs at the same time
        few = [*ROWS[task], "dataset.validation_examples=8", "training.epochs=1", "training.evaluate_first=false"]
        where = [f"output_dir={folder}", f"hydra.run.dir={folder / 'run'}", "training.save_model=none"]
        done = command(*SHAPE, f"task={task}", f"technique={technique}", *few, *where)
        assert done.returncode == 0, done.stderr
        result = json.loads((folder / "run" / "result.json").read_text())
        assert result["parameters"] == pytest.approx(15e6, rel=0.05)
        return int(result["peak_memory_growth"])

    with ThreadPoolExecutor() as both:
        full, head_only = both.map(growth, ["full", "freeze"])
    # Gradients and Adam's two averages of every weight, in fp32: three times 4 bytes.
    assert full >= 3 * 4 * 14.5e6
    assert 0 < head_only <= 0.4 * full


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap")
def test_freed_memory_is_kept_for_the_next_step_unless_the_user_has_told_the_heap_otherwise() -> None:
    script = """
import resource
import torch
from llama_experiments.training.memory import keep_heap

keep_heap()
for step in range(20):
    tensors = [torch.ones(5_000_000) for _ in range(3)]
    del tensors
    if step == 9:  # until the heap is as large as it has to be
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(**told: str) -> int:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | told
        command = [sys.executable, "-c", script]
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    pages = 10 * 3 * 5_000_000 * 4 // 4096
    assert faults() < pages / 20
    assert faults(MALLOC_MMAP_THRESHOLD_="1000000") > pages / 2
