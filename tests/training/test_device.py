"""The arithmetic that a machine without a GPU has, and what it has not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llama_experiments.errors import UserError
from llama_experiments.training.device import arithmetic, frozen_dtype, make_accelerator
from llama_experiments.training.settings import Training

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def training(precision: str) -> Training:
    return Training(learning_rate=1e-3, precision=precision)  # type: ignore[arg-type]


@on_cpu
def test_auto_is_fp32_on_a_cpu() -> None:
    accelerator = make_accelerator(training("auto"))
    assert accelerator.device.type == "cpu"
    assert arithmetic(accelerator) == "fp32"


@on_cpu
@pytest.mark.parametrize(
    ("hidden_size", "able", "expected"),
    [(287, True, "fp32"), (288, True, "bf16"), (4096, True, "bf16"), (4096, False, "fp32"), (None, True, "fp32")],
)
def test_auto_is_bf16_on_a_cpu_that_has_it_from_a_width_on(
    hidden_size: int | None, able: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able, "amx_bf16": False})
    assert arithmetic(make_accelerator(training("auto"), hidden_size)) == expected
    assert arithmetic(make_accelerator(training("fp32"), hidden_size)) == "fp32"  # what is said is done


@on_cpu
def test_a_processor_that_tells_nothing_has_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "arm64"})
    assert arithmetic(make_accelerator(training("auto"), 4096)) == "fp32"


@on_cpu
def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(UserError, match=r"training\.precision: fp16 needs a GPU"):
        make_accelerator(training("fp16"))


@on_gpu
def test_auto_is_bf16_on_a_gpu_that_has_it() -> None:
    expected = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    accelerator = make_accelerator(training("auto"))
    assert accelerator.device.type == "cuda"
    assert arithmetic(accelerator) == expected


def test_jobs_of_one_process_may_differ_in_precision() -> None:
    """As in a sweep over it."""
    found = [arithmetic(make_accelerator(training(precision))) for precision in ("fp32", "bf16", "fp32")]
    assert found == ["fp32", "bf16", "fp32"]


def test_processes_that_do_not_see_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    make_accelerator(training("fp32"))  # alone
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started, but Accelerate sees 1"):
        make_accelerator(training("fp32"))


@pytest.mark.parametrize(
    ("setting", "precision", "expected"),
    [
        ("auto", "fp32", torch.float32),
        ("fp32", "fp32", torch.float32),
        ("auto", "bf16", None),  # as stored
        ("fp32", "bf16", torch.float32),
        ("bf16", "bf16", torch.bfloat16),
        ("fp16", "bf16", torch.float16),
    ],
)
def test_the_type_of_frozen_tensors(setting: str, precision: str, expected: torch.dtype | None) -> None:
    assert frozen_dtype(setting, make_accelerator(training(precision))) == expected


@pytest.mark.parametrize("setting", ["bf16", "fp16"])
def test_a_narrow_type_in_fp32_arithmetic_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=rf"model\.dtype: {setting} needs training\.precision={setting}"):
        frozen_dtype(setting, make_accelerator(training("fp32")))


GROUP = """
import atexit, signal, sys, torch
from llama_experiments.training.device import leaving_together, make_accelerator
from llama_experiments.training.settings import Training
from llama_experiments.training.stopping import Stopped

told = lambda: print(torch.distributed.is_initialized(), flush=True)
atexit.register(told)
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", world_size=1, rank=0)
for _ in range(2):
    try:
        with leaving_together(make_accelerator(Training(learning_rate=1e-3))):
            told()
            if sys.argv[2] == "stops":
                raise Stopped(signal.SIGTERM, in_order=True)
    except Stopped:
        pass
"""


@pytest.mark.parametrize("how", ["ends", "stops"])
def test_a_process_that_ends_in_order_leaves_its_group_at_its_end(how: str, tmp_path: Path) -> None:
    """The group's threads outlive Python otherwise, which now and then aborts a process at its very end."""
    command = [sys.executable, "-c", GROUP, str(tmp_path / "store"), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["True", "True", "False"]), done.stderr
