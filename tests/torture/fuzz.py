"""Hundreds of bad inputs, seeded: each must end in a sentence, in time, and leave nothing half-written.

    python -m tests.torture.fuzz                          # all of them, a quarter of an hour on two cores
    python -m tests.torture.fuzz --only data --seed 3     # some, others
    python -m tests.torture.fuzz --case 'data 17'         # one again, with all that it says

By hand, from the checkout. What a case is made of is in `mutations` and `of_verbs`; what is right is in `judge`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.torture.judge import Outcome, verdict
from tests.torture.kinds import KINDS, cases
from tests.torture.mutations import Case, prepare
from tests.torture.of_verbs import prepare_runs

LIMIT = 120.0  # seconds that a case may take; a whole run of the embedded model takes 3


def warm_up() -> None:
    """Import once what every case would, so that a fork of this process starts at once."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "1"}
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import mlflow  # noqa: F401
    import peft  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch
    import transformers  # noqa: F401
    from transformers import LlamaForSequenceClassification  # noqa: F401

    import llama_experiments.cli  # noqa: F401

    torch.set_num_threads(1)


def run_case(case: Case, template: Path, room: Path) -> Outcome:
    """Run a case's command in a fork, in a copy of the template that the case has changed."""
    folder = room / case.name.replace(" ", "-")
    shutil.copytree(template, folder, symlinks=True)
    case.change(folder, random.Random(case.name))
    before = set(folder.rglob("*"))
    log = room / f"{folder.name}.log"
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(case.arguments, folder, log)
    status: int | None = None
    while status is None and time.monotonic() - start < LIMIT:
        ended, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if ended else None
        time.sleep(0.02)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    said = log.read_text(errors="replace")
    new = sorted(str(path.relative_to(folder)) for path in set(folder.rglob("*")) - before)
    return Outcome(status, said, folder, new, time.monotonic() - start)


def _become(arguments: Sequence[str], folder: Path, log: Path) -> None:
    """The child: a command of the user's, in its folder."""
    status = 70
    try:
        os.chdir(folder)
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(handle, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["llama_experiments"]
        # `ui` would become a server.
        os.execve = lambda *_: os._exit(0)  # type: ignore[assignment]
        from llama_experiments.cli import main

        try:
            status = main(arguments)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def fuzz(chosen: Sequence[Case], template: Path, *, verbose: bool = False) -> list[str]:
    """Run cases; returns what was found, a line a finding."""
    found: list[str] = []
    counted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        for case in chosen:
            outcome = run_case(case, template, Path(place))
            wrong = verdict(case, outcome)
            counted["refused" if outcome.status else "valid"] += 1
            if wrong:
                found.append(f"{case.name} [{case.what}]: {wrong}")
                print(found[-1], flush=True)
            if verbose or wrong:
                print(f"    $ {' '.join(case.arguments)}\n    " + outcome.said[-1500:].replace("\n", "\n    "))
            shutil.rmtree(outcome.folder, ignore_errors=True)
    told = ", ".join(f"{number} {word}" for word, number in sorted(counted.items()))
    print(f"{len(chosen)} inputs: {told}; {len(found)} findings", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(KINDS), action="append")
    parser.add_argument("--count", type=int, help="of each kind, rather than its own number")
    parser.add_argument("--case", help="its name, to see it alone")
    options = parser.parse_args()
    chosen = [one for one in cases(options.seed, options.only, options.count) if options.case in (None, one.name)]
    warm_up()
    with tempfile.TemporaryDirectory(prefix="fuzz-template-") as place:
        template = Path(place) / "template"
        prepare(template)
        prepare_runs(template)
        return 1 if fuzz(chosen, template, verbose=options.case is not None) else 0


if __name__ == "__main__":
    sys.exit(main())
