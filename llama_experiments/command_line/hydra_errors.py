"""What Hydra and OmegaConf cannot make sense of, in sentences of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.errors import MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from llama_experiments.command_line.config_files import choices_of, groups_of, show_path
from llama_experiments.errors import Mistake, offer

COMMAND_LINE = "set on the command line"


def mistake_of(error: BaseException, roots: Sequence[Path], files: Sequence[Path]) -> Mistake:
    """A failure to compose, as a mistake of the user's.

    Args:
        roots: folders with configs.
        files: YAML files that take part, those that were chosen first.
    """
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return Mistake("", f"line {mark.line + 1} is not YAML: {error.problem}", show_path(Path(mark.name)))
    if isinstance(error, yaml.YAMLError | ValueError) and not isinstance(error, OmegaConfBaseException):
        broken = next((file for file in files if not _is_yaml(file)), None)
        return Mistake("", f"is not YAML: {first_lines(error)}", show_path(broken) if broken else "")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        known = choices_of(roots, group) if group else {file.stem for file in roots[0].glob("*.yaml")}
        known = known or set(error.options or ())  # a group of Hydra's own
        sentence = f"there is no {group or 'config'} '{choice}'; {offer(choice, known, 'the choices')}"
        return Mistake(group or "--config-name", sentence, _says(choice, files))
    unknown_group = re.match(r"In '(.*)': Could not override '(.*?)'\. *No match", str(error))
    if unknown_group:
        group = unknown_group[2]
        sentence = f"there is no group to override; {offer(group, groups_of(roots), 'the groups')}"
        return Mistake(group, sentence, _says(group, files))
    return Mistake("", first_lines(error))


def first_lines(error: BaseException) -> str:
    """What an error and its cause say, without Hydra's advice to force a key in with '+'."""
    messages: list[str] = []
    current: BaseException | None = error
    while current is not None:
        message = str(current).strip().split("\n")[0].rstrip(".")
        message = re.sub(r"^Interpolation key ('.*') not found$", r"refers to \1, which is not there", message)
        if message and message not in messages and not any(message in said for said in messages):
            messages.append(message)
        current = current.__cause__ if not isinstance(current, OmegaConfBaseException) else None
    return ": ".join(messages[:2]) or type(error).__name__


def _says(word: str, files: Sequence[Path]) -> str:
    """The file that has a word in it."""
    for file in files:
        if re.search(rf"\b{re.escape(word)}\b", file.read_text(encoding="utf-8", errors="replace")):
            return show_path(file)
    return ""


def _is_yaml(file: Path) -> bool:
    try:
        yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return True
