"""Paths in settings: relative to the working folder, or `pkg://...` inside this package."""

from __future__ import annotations

import os
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
