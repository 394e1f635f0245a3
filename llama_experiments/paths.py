"""Paths in settings: relative to the working folder, or `pkg://...` inside this package."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PACKAGE_PREFIX = "pkg://"


def resolve(setting: str) -> Path:
    """The path a setting means; `pkg://embedded/model` is the folder that this package ships."""
    if setting.startswith(PACKAGE_PREFIX):
        return Path(__file__).parent / setting.removeprefix(PACKAGE_PREFIX)
    return Path(setting).expanduser()


def show(path: Path) -> str:
    """A path as the user would write it: relative where that is shorter."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def not_writable(folder: Path) -> str | None:
    """Why files cannot be made in a folder that may not be there yet, or None."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return f"{show(existing)} is a file where a folder belongs"
    try:
        # Asking for permission is not enough: root has it on file systems that take no files.
        tempfile.TemporaryDirectory(prefix=".writable-", dir=existing).cleanup()
    except OSError as error:
        return f"no folder can be made in {show(existing)}: {error.strerror}"
    return None
