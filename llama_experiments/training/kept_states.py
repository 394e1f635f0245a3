"""What a frozen trunk says of many tokens, in files that are mapped, not read: kept by content, the least used go."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from llama_experiments.files import replaced

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16)}
PAUSE = 0.05  # seconds between two looks at a lock


@dataclasses.dataclass(frozen=True)
class Place:
    """A file of numbers."""

    file: Path
    shape: tuple[int, int]
    dtype: torch.dtype
    full: bool  # whether they are there already

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def mapped(self) -> torch.Tensor:
        """Its numbers as a tensor; what is written to those that are there already stays in memory."""
        numbers = self.shape[0] * self.shape[1]
        flat = torch.from_file(str(self.file), shared=not self.full, size=numbers, dtype=self.dtype)
        return flat.view(self.shape)


class KeptStates:
    """A folder of such files. One that is removed while it is mapped stays as it is for those who map it."""

    def __init__(self, folder: Path, limit: int) -> None:
        """`limit`: bytes that the folder may hold."""
        self._folder, self._limit = folder, limit

    def find(self, key: str, shape: tuple[int, int]) -> Place | None:
        """What is kept under a key; None where nothing is."""
        for name, dtype in DTYPES.items():
            place = Place(self._folder / f"{key}.{name}", shape, dtype, full=True)
            with contextlib.suppress(FileNotFoundError):
                if place.file.stat().st_size == place.size:
                    os.utime(place.file)
                    return place
        return None

    @contextlib.contextmanager
    def new(self, key: str, shape: tuple[int, int], dtype: torch.dtype, *, kept: bool) -> Iterator[Place]:
        """A file to fill; it is kept under the key, or is gone, when the block ends.

        Raises:
            OSError: the disk has no room for it.
        """
        file = self._folder / f"{key}.{str(dtype).removeprefix('torch.')}"
        size = Place(file, shape, dtype, full=False).size
        if kept:
            self._make_room(size)
            with replaced(file) as beside:
                _reserve(beside, size)
                yield Place(beside, shape, dtype, full=False)
        else:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=f".{file.name}.") as beside:
                _reserve(Path(beside.name), size)
                yield Place(Path(beside.name), shape, dtype, full=False)

    @contextlib.contextmanager
    def held(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """While one process makes what belongs to a key, others wait; `waiting` is called as they do."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._folder / f".{key}.lock"
        with lock.open("w") as file:
            while not (taken := _take(file.fileno())).over:
                waiting()
                time.sleep(PAUSE)
            if taken.alone:
                for left in self._folder.glob(f".{key}.*.*"):  # by a process that was killed
                    left.unlink(missing_ok=True)
            try:
                yield
            finally:
                # Who waits for it still gets it, and then looks for what was made.
                lock.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest, until so much more is within the limit."""
        found = []
        for name in DTYPES:
            for file in self._folder.glob(f"[!.]*.{name}"):
                with contextlib.suppress(FileNotFoundError):  # another process makes room, too
                    told = file.stat()
                    found.append((told.st_mtime_ns, told.st_size, file))
        held = size + sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if held <= self._limit:
                return
            file.unlink(missing_ok=True)
            held -= size


@dataclasses.dataclass(frozen=True)
class _Taken:
    over: bool  # the waiting
    alone: bool  # whether nobody else may be at it


def _take(handle: int) -> _Taken:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Taken(over=False, alone=False)
    except OSError:
        # A file system without locks: two may make the same, and the later's takes the place of the other's.
        return _Taken(over=True, alone=False)
    return _Taken(over=True, alone=True)


def _reserve(file: Path, size: int) -> None:
    """Take the room on the disk now: a process that writes to a mapped file is killed where there is none."""
    handle = os.open(file, os.O_RDWR)
    try:
        os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)
