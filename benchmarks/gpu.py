"""Tokens a second, the share of the GPU's arithmetic in use, and memory, beside Trainer, `peft` with it, and TRL.

    python benchmarks/gpu.py --out FOLDER                        # all cases: about twenty minutes on an H200
    python benchmarks/gpu.py --out FOLDER --case 1b_full --set model.attention=varlen training.liger_kernels=true
    python benchmarks/gpu.py --out FOLDER --case try             # on any machine: that the script works

Llama shapes with random weights, rows of 2,048 tokens. Sides alternate, each a process of its own that trains the
same windows of the same texts and tracks in MLflow. Seconds are of training and its one evaluation. The
share is of the card's dense bf16 rate: 6 floating-point operations a weight and token where all weights move, 4 where
only adapters do, and attention's beside them (PaLM's count: Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import threading
from pathlib import Path

from side_by_side.cases import BEST, PEFT, TRL, Case
from side_by_side.data import READERS
from side_by_side.models import SHAPES, hidden_size, model_folder
from side_by_side.table import write_csv
from speed import own_folder, run_side, sides_environment

RATES = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40": 181e12, "4090": 165e12}  # a second, dense, bf16
TEXT = 12_000  # characters of a row, from which about 2,048 tokens or more come

_ALL = {"data": "wikitext", "length": 2048, "epochs": 1, "rate": 1e-5}
CASES = {
    "1b_full": Case(name="1b_full", about="1B, full", model="1B", rows=(64, 8), sides=("ours", BEST, TRL), **_ALL),
    "7b_lora": Case(
        name="7b_lora",
        about="7B, LoRA on q and v",
        model="7B",
        rows=(32, 4),
        technique="lora",
        sides=("ours", PEFT),
        **_ALL,
    ),
    "7b_full": Case(name="7b_full", about="7B, full", model="7B", rows=(16, 4), sides=("ours", BEST, TRL), **_ALL),
    "try": Case(
        name="try",
        about="6M, full",
        model="6M",
        rows=(4, 2),
        sides=("ours", BEST),
        **_ALL | {"length": 256},
    ),
}
LARGE = ("7B",)  # whose activations are made again in the backward pass, by all sides


def main() -> None:
    """Run the cases; the table so far is saved after each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=lambda names: names.split(","), default=["1b_full", "7b_lora", "7b_full"])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8, help="rows of a step; %(default)s")
    parser.add_argument("--micro-batch-size", type=int, default=4, help="rows of a pass; %(default)s")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"), help="a folder; %(default)s")
    parser.add_argument("--extra", type=Path, help="a folder where TRL is installed, where it is not beside us")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides for our side")
    options = parser.parse_args()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    card = _card()
    print(f"{card or 'no GPU'}; files are in {out}", flush=True)
    print(f"{'':<20}{'seconds':>9}{'tokens/s':>11}{'share':>8}{'GPU MiB':>10}{'x ours':>8}{'eval loss':>11}")
    found: list[dict[str, object]] = []
    for name in options.case:
        found += _run_case(CASES[name], out, options, card)
        write_csv(out / "gpu.csv", found)


def _run_case(case: Case, out: Path, options: argparse.Namespace, card: str) -> list[dict[str, object]]:
    environment = sides_environment(out, 8, options.extra)
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    work = dataclasses.replace(
        case.work(model=str(model_folder(case.model, out)), bf16=hidden_size(case.model) > 64, **_rows(case, folder)),
        gradient_checkpointing=case.model in LARGE,
        batch_size=options.batch_size,
        micro_batch_size=options.micro_batch_size,
    )
    ours = [f"training.micro_batch_size={work.micro_batch_size}", "training.save_model=none", *options.set]
    ours += [f"training.gradient_checkpointing={str(work.gradient_checkpointing).lower()}"]
    found, seconds = [], 0.0
    for number in range(options.repeat):
        for side in case.sides:
            own = own_folder(folder / f"{side}-{number}", out, environment)
            with _PeakOfCard() as peak:
                run = run_side(case, work, side, own, environment, ours)
            seconds = run.training if side == "ours" else seconds
            row = {
                "case": case.name,
                "side": side,
                "seconds": run.training,
                "tokens_a_second": run.tokens / run.training,
                "share": _operations(case) * run.tokens / run.training / _rate(card),
                "gpu_memory": peak.most,
                "times_ours": run.training / seconds if seconds else None,
                "eval_loss": run.eval_loss,
            }
            print(
                f"{case.name + ' ' + side:<20}{run.training:>9.1f}"
                f"{row['tokens_a_second']:>11,.0f}{row['share']:>8.1%}"
                f"{peak.most:>10,}{row['times_ours'] or 0:>8.2f}{run.eval_loss:>11.4f}",
                flush=True,
            )
            found.append(row)
    return found


def _rows(case: Case, folder: Path) -> dict[str, str]:
    """Long texts, so that most windows are full."""
    files = {}
    for part, size in zip(("train", "validation"), case.rows, strict=True):
        words = " ".join(row["text"] for row in READERS[case.data](part)).split(" ")
        texts: list[str] = []
        while len(texts) < size:
            start = len(texts) * 997 % len(words)
            text = " ".join((words[start:] + words)[: TEXT // 4])
            texts.append(text[: TEXT * case.length // 2048])
        file = folder / f"{part}.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        files[part] = str(file)
    return files


def _operations(case: Case) -> float:
    """Floating-point operations a token."""
    shape = SHAPES[case.model]
    head = 32_000 * shape.hidden
    a_weight = 4 if case.technique == "lora" else 6
    attention = shape.layers * shape.hidden * case.length  # causal: half of the square
    return a_weight * (shape.parameters() + head + attention)


def _card() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _rate(card: str) -> float:
    """Of a card by its name; of none that of an H200, so that the script can be tried."""
    return next((rate for name, rate in RATES.items() if name in card), RATES["H200"])


class _PeakOfCard:
    """The most memory in use on the card, asked for five times a second."""

    def __enter__(self) -> _PeakOfCard:
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while shutil.which(command[0]) and not self._done.wait(0.2):
            told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
            self.most = max(self.most, *map(int, told), 0)


if __name__ == "__main__":
    main()
