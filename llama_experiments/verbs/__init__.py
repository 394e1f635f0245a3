"""The commands beside training: `python -m llama_experiments VERB ...`. A module here is a verb.

A verb has `run(arguments) -> exit status` and a docstring: its first line is what `--help` lists, the whole of it
what `VERB --help` prints. Nothing at a verb's top level imports torch.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path


def verbs() -> list[str]:
    """Their names."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def described() -> dict[str, str]:
    """Each verb's first line, read without importing it."""
    folder = Path(__file__).parent
    texts = {name: ast.get_docstring(ast.parse((folder / f"{name}.py").read_text("utf-8"))) for name in verbs()}
    return {name: (text or "").partition("\n")[0] for name, text in texts.items()}


def run_verb(name: str, arguments: list[str]) -> int:
    """Run a verb; `--help` among its arguments prints its docstring instead."""
    module = importlib.import_module(f"{__name__}.{name}")
    if {"--help", "-h"} & set(arguments):
        print((module.__doc__ or "").strip())
        return 0
    status: int = module.run(arguments)
    return status
