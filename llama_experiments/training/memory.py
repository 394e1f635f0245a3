"""How much memory a run takes at its peak, over what it holds when it begins; and when it is more than there is."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

from llama_experiments.errors import UserError

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# glibc's names for what its heap keeps at its top, what more it takes at once, and from which size it asks the system
TRIM, PAD, MAP = -1, -2, -3
OF_MALLOC = ("MALLOC_", "GLIBC_TUNABLES")  # how a user tells it the same


class OutOfMemory(UserError):
    """What was asked for does not fit the device."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator's memory was short."""
    # A CPU's has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def keep_heap() -> None:
    """Have the C library keep what was freed: a CPU's next step takes it again.

    Given back and fetched anew, page by page, it was up to a twentieth of a step. Only glibc's heap, and only where
    the user has not told it otherwise.
    """
    told = any(name.startswith(OF_MALLOC) for name in os.environ)
    tell = None if told or not sys.platform.startswith("linux") else getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is not None:
        for setting, value in ((TRIM, 2**31 - 1), (PAD, 1 << 26), (MAP, 1 << 25)):
            tell(setting, value)


class PeakMemory:
    """Counts from its making: the allocator's peak on a GPU, the resident set's on Linux, nothing elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._start: int | None = torch.cuda.memory_allocated(device)
        else:
            self._start = _reset_resident()

    def growth(self) -> int | None:
        """Bytes of the highest point since then, over that moment; None where the system cannot tell."""
        if self._start is None:
            return None
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device)) - self._start
        return _resident("VmHWM") - self._start


def _reset_resident() -> int | None:
    """Forget the highest point so far; returns the resident bytes now."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # What was freed by those before us in this process would hide what we take.
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        return None  # a C library that keeps no such account: musl
    try:
        RESET.write_text("5")
    except OSError:
        return None  # a sandbox that lets no process do so
    return _resident("VmRSS")


def _resident(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
