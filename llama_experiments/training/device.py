"""The device and the arithmetic a run uses."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedType

from llama_experiments.errors import UserError
from llama_experiments.models.base import OF_16_BITS
from llama_experiments.training.memory import keep_heap
from llama_experiments.training.settings import Training
from llama_experiments.training.sharding import insist, make_plugin, tell_type
from llama_experiments.training.stopping import Stopped

BF16_FROM = 288  # hidden size from which bf16 is faster than fp32 on a CPU that multiplies in it


def make_accelerator(training: Training, hidden_size: int | None = None) -> Accelerator:
    """The GPU where there is one, else the CPU; the processes that the launcher started.

    Args:
        hidden_size: the model's, by which the precision `auto` is decided on a CPU; None: fp32 there.

    Raises:
        UserError: a precision that the device does not have, or processes that do not see each other.
    """
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        keep_heap()
    precision = chosen_precision(training, hidden_size)
    if precision == "fp16" and not on_gpu:
        raise UserError("training.precision: fp16 needs a GPU, and there is none here; use auto, fp32 or bf16")
    # A job before this one in the same process (a sweep's) may have had another precision.
    AcceleratorState._reset_state(reset_partial_state=False)
    GradientState._reset_state()
    if PartialState._shared_state.get("distributed_type") is DistributedType.FSDP and not on_gpu:
        tell_type(DistributedType.MULTI_CPU)  # as it was before a job with other settings
    plugin = make_plugin() if training.sharding == "fsdp" else None
    # Told explicitly: under torchrun a plain Accelerator() on CPUs gives processes that each think they are alone.
    accelerator = Accelerator(
        cpu=not on_gpu, mixed_precision="no" if precision == "fp32" else precision, fsdp_plugin=plugin
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise UserError(
            f"{started} processes were started, but Accelerate sees {accelerator.num_processes}: each would train "
            "on its own; use training.processes, torchrun or 'accelerate launch --multi_gpu'"
        )
    if plugin is not None:
        insist(accelerator, plugin)
    return accelerator


def pass_tokens(kind: str, hidden_size: int) -> int | None:
    """How many tokens a pass without gradients is to have at most; None: any number.

    On a CPU what lies between two layers is to stay in its cache: at 512 tokens a row and a hidden size of 288 passes
    of 64 rows take twice as long, in all, as passes of 8.
    """
    return min(4096, max(512, (1 << 20) // hidden_size)) if kind == "cpu" else None


def probe_device(accelerator: Accelerator, attention: str) -> torch.device:
    """Where a pass with the whole model is made: where it may fit only as shares, on the CPU, unless that cannot."""
    on_cpu = accelerator.is_fsdp2 and attention not in OF_16_BITS
    return torch.device("cpu" if on_cpu else accelerator.device)


@contextlib.contextmanager
def leaving_together(accelerator: Accelerator) -> Iterator[None]:
    """Processes that end in order leave this together: a launcher would end the first, which still writes."""
    try:
        yield
    except Stopped as stopped:
        if stopped.in_order:
            _leave(accelerator)
        raise
    _leave(accelerator)


def _leave(accelerator: Accelerator) -> None:
    accelerator.wait_for_everyone()
    atexit.unregister(_leave_group)  # once for all runs of a process
    atexit.register(_leave_group)


def _leave_group() -> None:
    """Its threads still give tensors back to Python, and one that does so while Python ends aborts the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def chosen_precision(training: Training, hidden_size: int | None = None) -> str:
    """The precision with `auto` decided, by a rule of device and shape: a run must repeat itself.

    bf16 on a GPU that has it, and on a CPU that has it where the model is wide enough to gain by it; else fp32.
    """
    if training.precision != "auto":
        return training.precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if isinstance(hidden_size, int) and hidden_size >= BF16_FROM and cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies in bf16: elsewhere that is emulated, and slow."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def arithmetic(accelerator: Accelerator) -> str:
    """The precision in our words."""
    return "fp32" if accelerator.mixed_precision == "no" else str(accelerator.mixed_precision)


def frozen_dtype(setting: str, accelerator: Accelerator) -> torch.dtype | None:
    """The type of frozen tensors: as stored under autocast, fp32 where the arithmetic is.

    Raises:
        UserError: a narrow type was asked for in fp32 arithmetic.
    """
    if arithmetic(accelerator) == "fp32":
        if setting in ("bf16", "fp16"):
            raise UserError(
                f"model.dtype: {setting} needs training.precision={setting}; the arithmetic is fp32 here, so leave "
                "model.dtype at auto"
            )
        return torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.get(setting)
