"""Launchers of processes, and what they are told in vain: each of these silences would change a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.command_line.processes import started
from llama_experiments.errors import UserError

if TYPE_CHECKING:
    from llama_experiments.training.settings import Training

# What `accelerate launch` tells by the environment, and which setting is meant. We make all of it ourselves, so that
# a run is what its config says and no more.
IN_VAIN = {
    "ACCELERATE_USE_FSDP": "FSDP: leave it out and set training.sharding=fsdp",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed: leave it out and set training.sharding=fsdp, which shares out as much",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM, which is not supported: leave it out",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism of its own: leave it out and set training.sharding=fsdp",
}
OFF = ("", "0", "false", "no", "off")


def check_processes(training: Training) -> None:
    """Compare what the config asks for with what a launcher has started, and was told beside.

    Raises:
        UserError: they do not agree.
    """
    wanted = training.processes
    if wanted is not None and started() > 1 and wanted != started():
        raise UserError(
            f"training.processes: is {wanted}, and the launcher has started {started()}; leave the setting out, or "
            "start the plain command, which starts them itself"
        )
    if started() == 1 and (asked := _asked_of_accelerate()) > 1:
        raise UserError(
            f"accelerate launch was asked for {asked} processes and has started one, as it does on CPUs; use "
            f"python -m llama_experiments training.processes={asked} instead"
        )
    for name, meant in IN_VAIN.items():
        if os.environ.get(name, "").lower() not in OFF:
            raise UserError(f"the launcher was told to use {meant} ({name} is set, and would be ignored)")
    accumulated = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if accumulated not in ("", "1"):
        raise UserError(
            f"the launcher was told to accumulate {accumulated} steps' gradients, which would divide the loss once "
            "more; leave it out: training.batch_size is the batch, training.micro_batch_size what fits in one pass"
        )
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "").lower() not in OFF:
        raise UserError(
            "the launcher was told to compile the model, which is not supported; leave --dynamo_backend out"
        )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "").lower()
    if precision not in (*OFF, training.precision):
        raise UserError(
            f"the launcher was told to use {precision}, and training.precision is {training.precision}; leave it out "
            f"there, and set training.precision={precision if precision in ('bf16', 'fp16') else 'bf16'} here"
        )


def _asked_of_accelerate() -> int:
    """The processes that the `accelerate launch` that is our parent was asked for: it starts one on CPUs."""
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # another system, or the parent is gone
        return 1
    if "launch" not in words or not any("accelerate" in word for word in words):
        return 1
    told = _option(words, "num_processes")
    if told is None:
        told = _configured(_option(words, "config_file"))
    return int(told) if told.isdecimal() else 1


def _option(words: Sequence[str], name: str) -> str | None:
    for word, after in zip(words, [*words[1:], ""], strict=True):
        option, _, value = word.partition("=")
        if option in (f"--{name}", f"--{name.replace('_', '-')}"):
            return value or after
    return None


def _configured(file: str | None) -> str:
    """The number of processes in Accelerate's own config, where there is one."""
    import yaml
    from accelerate.commands.config import default_config_file

    try:
        config = yaml.safe_load(Path(file or default_config_file).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # none, or accelerate has said so
        return "1"
    return str(config.get("num_processes", 1)) if isinstance(config, dict) else "1"
