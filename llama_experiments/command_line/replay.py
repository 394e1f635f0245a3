"""A saved config, run again (`--config-path RUN/.hydra`): read as plain YAML before Hydra may act on it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from llama_experiments.command_line.config_files import show_path
from llama_experiments.errors import UserError

RUN_DIR = "${output_dir}/${now:%Y-%m-%d}/${now:%H-%M-%S}-${hydra.job.name}"
# What a saved config may contain besides values: ${key}, and the clock.
HARMLESS = re.compile(r"\$\{\s*(now:[^${}]*|[\w.\[\]-]+)\s*\}")


def replay_overrides(folder: Path, name: str, overrides: Sequence[str]) -> list[str]:
    """A saved config has no `hydra` node: give the replay a folder and a name like any run's.

    Raises:
        UserError: the config could run or read more than settings.
    """
    refuse_unsafe_replay(folder, name)
    job = "replay"
    with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        choices = yaml.safe_load((folder / "hydra.yaml").read_text(encoding="utf-8"))["hydra"]["runtime"]["choices"]
        words = [str(choices[group]) for group in ("task", "model", "technique")]
        if all(re.fullmatch(r"[\w-]+", word) for word in words):
            job = "-".join(words)
    given = {override.split("=", 1)[0] for override in overrides}
    wanted = {"hydra.job.name": job, "hydra.run.dir": RUN_DIR, "hydra/job_logging": "none"}
    return [f"{key}={value}" for key, value in wanted.items() if key not in given]


def refuse_unsafe_replay(folder: Path, name: str = "config") -> None:
    """Refuse what would run or read more than settings.

    Hydra would run a `hydra` node's callbacks, and resolve `${oc.env:...}`, before any check of ours.

    Raises:
        UserError: no config there, not YAML, a `hydra` node, or a resolver that reaches beyond the config.
    """
    file = folder / f"{name.removesuffix('.yaml')}.yaml"
    if not file.is_file():
        raise UserError(f"--config-path: there is no file {show_path(file)}; give the .hydra folder of a run")
    try:
        text = file.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{show_path(file)}: line {line} is not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{show_path(file)} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{show_path(file)} is not a config: it holds no settings")
    # A package header would move the settings below another node, `hydra` among them.
    header = "@package" if re.search(r"^\s*#\s*@package", text, re.MULTILINE) else None
    key = next((key for key in ("hydra", "defaults") if key in tree), header)
    if key is not None:
        raise UserError(
            f"{show_path(file)} has a '{key}' node, which a config to be replayed must not have: Hydra would run "
            "what it names before it could be checked; remove it, or use --config-dir for groups of your own"
        )
    for value in _texts(tree):
        if "${" in HARMLESS.sub("", value):
            raise UserError(
                f"{show_path(file)} uses a resolver, '{value[:60]}', which a config to be replayed must not: it "
                "reaches beyond the config; write the value itself"
            )


def _texts(node: Any) -> Iterator[str]:
    """All texts of a YAML tree as parsed, so that no way of writing hides one."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
