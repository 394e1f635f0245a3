"""Secrets of the environment (tokens, passwords): no setting may hold one, nothing that is told or kept shows one."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from llama_experiments.errors import Mistake

SECRET = re.compile(r"(^|[_.-])(TOKEN|SECRET|PASSWORD|PASSWD|APIKEY|API_KEY|ACCESS_KEY|PRIVATE_KEY)S?($|[_.-])", re.I)
SHORTEST = 8  # characters; what is shorter is a word that may stand anywhere
IN_ADDRESS = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")  # user:password of a URI
HIDDEN = "***"


def secrets() -> dict[str, str]:
    """The environment's secrets by name. A path to a file with one is not a secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if SECRET.search(name) and len(value) >= SHORTEST and not value.startswith("/")
    }


def hidden(text: str) -> str:
    """A text without secrets, for a terminal, a log or a file."""
    for value in secrets().values():
        text = text.replace(value, HIDDEN)
    return IN_ADDRESS.sub(HIDDEN, text)


def print_hidden(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's own words for an error that nobody caught, without secrets."""
    print(hidden("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr, flush=True)


def secret_settings(settings: Mapping[str, Any]) -> list[Mistake]:
    """The settings, by dotted path, that hold a secret: a run would keep it in its folder and in MLflow."""
    known = secrets()
    found = []
    for path, value in settings.items():
        name = next((name for name, secret in known.items() if secret in f"{path} {value}"), None)
        if name is not None:
            sentence = f"holds the value of {name}, which every run would keep; leave it in the environment"
            found.append(Mistake(hidden(path), sentence))
    return found
