"""Every preset of one run, run and reproduced, by hand: python -m tests.torture.reproductions [FOLDER].

Prints what `reproduce` says of each; presets of public data run on their stand-ins.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.conftest import ROOT
from tests.torture.killed import command

SWEEPS = ("ladder", "lr_sweep", "transfer")
SMALL = ["dataset.train_examples=160", "dataset.validation_examples=60"]


def main(folder: Path) -> int:
    """Returns the number of presets whose reproduction was not identical."""
    different = 0
    conf = ROOT / "conf" / "experiment"
    for file in sorted(conf.rglob("*.yaml")):
        preset = str(file.relative_to(conf).with_suffix(""))
        if preset in SWEEPS:
            continue
        own = folder / preset.replace("/", "-")
        own.mkdir(parents=True, exist_ok=True)
        stand_in = ["stand_in=embedded"] if preset.startswith("seed/") else []
        place = [f"output_dir={own / 'o'}", f"hydra.run.dir={own / 'run'}"]
        status = command(own, [f"experiment={preset}", *stand_in, *SMALL, *place])
        again = command(own, ["reproduce", str(own / "run"), f"hydra.run.dir={own / 'again'}"]) if status == 0 else 1
        said = (own / "log.txt").read_text().strip().splitlines()
        verdict = next((line for line in reversed(said) if line.startswith(("identical", "different"))), said[-1])
        print(f"{preset:<28} {verdict}", flush=True)
        different += status != 0 or again != 0
    return different


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())))
