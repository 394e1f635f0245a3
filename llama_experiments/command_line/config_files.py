"""The YAML files of a config: where they lie, which groups and choices there are, what each sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from llama_experiments.paths import show

PACKAGE = Path(__file__).parent.parent
# In a wheel conf/ lies inside the package, in a checkout beside it.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


def find_config(roots: Sequence[Path], group: str, name: str) -> Path | None:
    """The file of a group's choice (of the primary config for the group ""), in the first root that has it."""
    for root in roots:
        file = root / group / f"{name.removesuffix('.yaml')}.yaml"
        if name and file.is_file():
            return file
    return None


def show_path(path: Path) -> str:
    """A config file as people know it: `conf/...` wherever the package lies."""
    if path.is_relative_to(CONF):
        return str(Path("conf") / path.relative_to(CONF))
    return show(path)


def groups_of(roots: Sequence[Path]) -> set[str]:
    """The names of the groups."""
    return {folder.name for root in roots for folder in root.glob("*/") if folder.is_dir()}


def is_group(roots: Sequence[Path], key: str) -> bool:
    """Whether `key=...` chooses a file of a group, rather than setting a value."""
    return any((root / key).is_dir() for root in roots) and not key.startswith("hydra")


def is_optional(group: str) -> bool:
    """Whether a group need not be chosen from: the primary config calls it so."""
    defaults = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return any(f"optional {group}" in entry for entry in defaults if isinstance(entry, dict))


def choices_of(roots: Sequence[Path], group: str) -> set[str]:
    """The choices of a group."""
    folders = [root / group for root in roots]
    return {
        str(file.relative_to(folder)).removesuffix(".yaml") for folder in folders for file in folder.glob("**/*.yaml")
    }


def has_key(file: Path, path: str) -> bool:
    """Whether a YAML file itself sets the dotted path."""
    try:
        node = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: no UTF-8, or no date
        return False
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True
