"""Python's search for garbage, kept from what stays to the end: imports leave half a million objects.

To look through these again and again, and once more at the very end, took a fifth of a short run.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """No search inside. What lives after the first of these in a process is never looked at again."""
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        keep_what_lives("imports")
        if searches:
            gc.enable()


@functools.cache
def keep_what_lives(after: str) -> None:
    """Never look at it again. Once after each thing: later a model may be among it, which has to be found.

    Args:
        after: what has been done by now.
    """
    gc.freeze()
