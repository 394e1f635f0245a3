"""What the jobs of one process share: a thing is made once for one content, and the newest few of a kind are kept.

Whoever is given a shared thing may not change it. A key tells all that the thing is made of: components by their
settings, files by what the system says of them, so that a file that changes between two jobs is read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

KEPT = 4  # of a kind: a sweep goes through few data sets, and through each many times

Made = TypeVar("Made")

_kinds: dict[str, OrderedDict[Hashable, Any]] = {}


def shared(kind: str, key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` gives, or gave for the same key."""
    kept = _kinds.setdefault(kind, OrderedDict())
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)
    made: Made = kept[key]
    return made


def settings_key(component: Any) -> str:
    """A component by its class and all its settings."""
    return f"{type(component).__module__}.{component!r}"


def files_key(paths: Iterable[Path]) -> tuple[tuple[str | int, ...], ...]:
    """Files by place, size, inode and times; folders by all that they hold; what is not there by its place."""
    return tuple(told for path in paths for told in _stamps(path))


def _stamps(path: Path) -> Iterable[tuple[str | int, ...]]:
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    for file in (path, *inside):
        try:
            found = file.stat()
        except OSError:
            yield (str(file.absolute()),)
            continue
        # The time of its last change of any kind cannot be set: a file put in place with an old time is another.
        yield (str(file.absolute()), found.st_size, found.st_ino, found.st_dev, found.st_mtime_ns, found.st_ctime_ns)


def forget() -> None:
    """Keep nothing any longer."""
    _kinds.clear()
