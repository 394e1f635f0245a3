"""A rival's process: trains a `Work` in one way and prints a line of JSON with its spans, losses and tokens.

python benchmarks/side_by_side/rival.py WAY WORK.json
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from side_by_side.cases import BEST, LOOP, PEFT, TRL, TUTORIAL, read_work

# Each a module with `run(work, way) -> {spans, train_loss, eval_loss, tokens}`.
WAYS = {
    TUTORIAL: "trainer",
    BEST: "trainer",
    PEFT: "trainer",
    TRL: "trl_packing",
    "bare": "bare",
    LOOP: "row_by_row",
}


def main() -> None:
    """Run one way."""
    way, file = sys.argv[1:]
    found = importlib.import_module(f"side_by_side.{WAYS[way]}").run(read_work(file), way)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
