"""`python -m llama_experiments`."""

from __future__ import annotations

import atexit
import gc
import sys

from llama_experiments.cli import main

atexit.register(gc.freeze)  # what a process leaves goes with it: to search it took Python longer than a start

if __name__ == "__main__":
    sys.exit(main())
