"""Modules of the user's own whose classes a config may name: those that the command line names, and no others.

`--plugin my_module` on any command. A saved config, a preset or a group's file cannot name one: importing a module
is running it, and a config may be a stranger's.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator, Sequence

from llama_experiments.errors import UserError

OPTION = "--plugin"
VARIABLE = "LLAMA_EXPERIMENTS_PLUGINS"  # how the processes that a command starts are told


@contextlib.contextmanager
def named_on(arguments: Sequence[str]) -> Iterator[list[str]]:
    """The arguments without `--plugin`s, whose modules are plug-ins until the block ends.

    Raises:
        UserError: no module's name, or it cannot be imported.
    """
    names, rest = _taken_out(arguments)
    if not names:
        yield rest
        return
    before = os.environ.get(VARIABLE)
    for name in names:
        _import(name)
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*plugins(), *names]))
    try:
        yield rest
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def plugins() -> list[str]:
    """The modules that may be named beside ours."""
    return [name for name in os.environ.get(VARIABLE, "").split(",") if name]


def may_be_named(target: str, ours: str) -> bool:
    """Whether a `_target_` is a class in our package or in a plug-in; told from its name, before any import."""
    return target.startswith((ours, *(f"{name}." for name in plugins())))


def _taken_out(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    names, rest, words = list[str](), list[str](), iter(arguments)
    for word in words:
        if word == OPTION:
            names.append(next(words, ""))
        elif word.startswith(f"{OPTION}="):
            names.append(word.partition("=")[2])
        else:
            rest.append(word)
    return names, rest


def _import(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise UserError(f"{OPTION}: must be a module's name, such as my_module, not '{name}'")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = "it" if error.name and name.startswith(error.name) else f"'{error.name}', which it imports,"
        raise UserError(
            f"{OPTION} {name}: {missing} is not found; run where {name.partition('.')[0]}.py lies, or set PYTHONPATH"
        ) from error
    except Exception as error:  # whatever is wrong in the user's own code, with the place
        where = _last_line(error)
        raise UserError(f"{OPTION} {name}: it cannot be imported: {type(error).__name__}: {error}{where}") from error


def _last_line(error: BaseException) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
