"""`python -m llama_experiments`."""

from __future__ import annotations

import sys

from llama_experiments.cli import main

if __name__ == "__main__":
    sys.exit(main())
