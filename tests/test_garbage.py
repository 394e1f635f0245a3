from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from llama_experiments.garbage import importing


def test_no_search_inside_and_searches_afterwards() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_searches_again_after_an_import_that_failed() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_what_was_imported_first_is_not_looked_at_again_but_what_comes_later_is() -> None:
    script = """
import gc, weakref
from llama_experiments.garbage import importing

class Node:
    pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

with importing():
    before = cycle()
frozen = gc.get_freeze_count()
with importing():
    after = cycle()
gc.collect()
print(before() is not None, after() is None, 0 < frozen == gc.get_freeze_count())
"""
    assert _printed(script) == "True True True"


def test_a_process_ends_without_a_search() -> None:
    script = """
import sys

if "ours" in sys.argv:
    import llama_experiments.__main__

class Node:
    def __del__(self):
        print("found")

node = Node()
node.itself = node
del node
"""
    assert _printed(script) == "found"
    assert _printed(script, "ours") == ""


def _printed(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
