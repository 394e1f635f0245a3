"""A disk that is full, that may not be written to, or that limits files: in a sentence, whichever library met it."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

from llama_experiments.errors import UserError
from llama_experiments.paths import show

# What the system says of a file, which is no mistake of ours; and what to do about it.
ROOM = "make room there"
REASONS = {
    errno.ENOSPC: ("the disk is full", ROOM),
    errno.EDQUOT: ("the disk has no room left for this user", ROOM),
    errno.EFBIG: ("a file would be larger than the system allows (ulimit -f)", "raise the limit"),
    errno.EROFS: ("the disk can only be read", "make it writable"),
    errno.EACCES: ("permission denied", "allow this user to write there"),
    errno.EPERM: ("operation not permitted", "allow this user to write there"),
    errno.EIO: ("the disk fails (input/output error)", "look after the disk"),
    errno.EISDIR: ("is a directory", "move it away"),
    errno.ENOTDIR: ("not a directory", "move it away"),
    errno.ELOOP: ("too many links lead from one to another", "move them away"),
    errno.ENAMETOOLONG: ("file name too long", "choose a shorter one"),
}
# Libraries written in Rust have exceptions of their own, with the system's number in their text.
TOLD = re.compile(r"\(os error (\d+)\)")


class DiskError(UserError):
    """Something could not be written or read because of the disk."""


def disk_error(error: BaseException, folder: Path | None = None) -> DiskError | None:
    """The sentence for an error of the system's about a file; None of any other.

    Args:
        folder: where the file must be, if the error does not say.
    """
    number = _number(error)
    if number not in REASONS:
        return None
    reason, remedy = REASONS[number]
    named = getattr(error, "filename", None)
    place = Path(str(named)[:200]) if isinstance(named, str | Path) else folder
    if place is None:
        return DiskError(f"a file cannot be written: {reason}; {remedy}")
    if place.name.startswith("."):  # what is written beside a file before it takes its place
        place = place.parent
    free = f" ({_free(place)} free now)" if number == errno.ENOSPC else ""
    return DiskError(f"{show(place)}: {reason}{free}; {remedy}")


def _number(error: BaseException) -> int | None:
    if isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, OSError):
        return error.errno
    match = TOLD.search(str(error))
    return int(match[1]) if match else None


def _free(place: Path) -> str:
    existing = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    return f"{shutil.disk_usage(existing).free / 2**20:.1f} MiB"
