"""How much memory a run can have here: the GPU's, or what is free of the machine's and of its container's."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # without one of them Linux has no GPU for torch
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
V1_LIMIT, V1_USAGE, V1_CACHE = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
LIMIT, USAGE, CACHE = "memory.max", "memory.current", "inactive_file"


@dataclasses.dataclass(frozen=True)
class Available:
    """Bytes that a run may take, and whose they are."""

    size: int
    kind: str  # cpu or cuda: torch's words
    where: str  # for people

    def __str__(self) -> str:
        return f"{gigabytes(self.size)} {self.where}"


def available_memory() -> Available:
    """Of the device that a run would take now."""
    if _may_have_gpu():
        import torch

        if torch.cuda.is_available():
            free, _ = torch.cuda.mem_get_info()
            return Available(int(free), "cuda", "free on the GPU")
    import psutil

    free = int(psutil.virtual_memory().available)
    left = cgroup_left()
    if left is not None and left < free:
        return Available(left, "cpu", "free within the memory limit of this container")
    return Available(free, "cpu", "of free memory")


def cgroup_left(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> int | None:
    """Bytes below the tightest limit over this process; None without one. Cached files count as free."""
    left = [size for group, names in _groups(root, own) if (size := _left(group, *names)) is not None]
    return min(left, default=None)


def _groups(root: Path, own: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    """The process's group and those above it, of either version; the last is the container's own view of it."""
    if not own.is_file():
        return []
    found: list[tuple[Path, tuple[str, str, str]]] = []
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root, (LIMIT, USAGE, CACHE)
        elif "memory" in controllers.split(","):
            top, names = root / "memory", (V1_LIMIT, V1_USAGE, V1_CACHE)
        else:
            continue
        group = top / path.lstrip("/")
        while group != top and top in group.parents:
            found.append((group, names))
            group = group.parent
        found.append((top, names))
    return found


def _left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        most = (group / limit).read_text().strip()
        if most == "max":
            return None
        used = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, int(most) - used + int(stat.get(cache, 0)))
    except (OSError, ValueError):
        return None  # no such file here: no limit of this kind


def _may_have_gpu() -> bool:
    """Whether it is worth asking torch, whose import takes a second."""
    return not sys.platform.startswith("linux") or any(Path(name).exists() for name in GPU_DEVICES)


def gigabytes(size: float) -> str:
    """Bytes as people say them: 61 MB, 1.5 GB."""
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB" if size < 99.5e9 else f"{size / 1e9:,.0f} GB"
