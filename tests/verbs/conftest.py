"""A command line, run in this process, as the tests of whole commands run it."""

from tests.end_to_end.conftest import run

__all__ = ["run"]
