"""What launchers are told in vain."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.command_line import launchers
from llama_experiments.command_line.launchers import check_processes
from llama_experiments.errors import UserError
from llama_experiments.training.settings import Training

PLAIN = Training(learning_rate=1e-3)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ACCELERATE_USE_FSDP", "true", "told to use FSDP: leave it out and set training.sharding=fsdp"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "told to use DeepSpeed: leave it out"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "Megatron-LM, which is not supported"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true", "a parallelism of its own"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "accumulate 4 steps' gradients"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "compile the model, which is not supported"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "told to use bf16, and training.precision is auto"),
    ],
)
def test_what_would_be_ignored_is_refused(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_processes(PLAIN)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=sentence):
        check_processes(PLAIN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_USE_FSDP", "false"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"),
        ("ACCELERATE_DYNAMO_BACKEND", "NO"),
        ("ACCELERATE_MIXED_PRECISION", "no"),
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
    ],
)
def test_what_the_launcher_says_anyway_is_not(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    check_processes(Training(learning_rate=1e-3, precision="bf16" if value == "bf16" else "auto"))


def test_other_processes_than_the_config_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    check_processes(PLAIN)
    check_processes(Training(learning_rate=1e-3, processes=4))
    with pytest.raises(UserError, match=r"training\.processes: is 2, and the launcher has started 4"):
        check_processes(Training(learning_rate=1e-3, processes=2))


@pytest.mark.parametrize("option", [["--num_processes", "2"], ["--num-processes=2"], ["--config_file", "FILE"]])
def test_one_process_for_two(option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text("compute_environment: LOCAL_MACHINE\nnum_processes: 2\n")
    words = ["/bin/python", "/bin/accelerate", "launch", "--cpu", *option, "-m", "llama_experiments"]
    parent = tmp_path / "cmdline"
    parent.write_text("\0".join(word.replace("FILE", str(file)) for word in words))
    monkeypatch.setattr(launchers, "Path", lambda name: parent if str(name).startswith("/proc/") else Path(name))
    with pytest.raises(UserError, match="asked for 2 processes and has started one, as it does on CPUs"):
        check_processes(PLAIN)
    monkeypatch.setenv("WORLD_SIZE", "2")  # as on GPUs
    check_processes(PLAIN)
