"""Reading, checking and tokenizing a large CSV: ours beside a bare `datasets.load_dataset` and `map(batched=True)`.

By hand, in a folder with a few GB free:

    python benchmarks/reading.py FOLDER                     # 560,000 rows, about 430 MB, the size of Yelp polarity
    python benchmarks/reading.py FOLDER --rows 100000       # for memory: beside --rows 400000

What it gave on two cores: seconds, seconds of CPU, and the most memory that was the process's own, libraries and all
(mapped files are not). The tests ran beside the second half of the first line:

    rows       bare `datasets`            ours, hygiene report included   ours again
    560,000    153 s  196 s CPU  548 MB   133 s  133 s CPU  658 MB         8.0 s  5.5 s CPU  439 MB
    100,000     22 s   34 s CPU  445 MB    16 s   22 s CPU  522 MB         2.8 s  1.6 s CPU  416 MB

Both ways grow by about 100 MB from the one to the other, in the CSV reader of `datasets`. What is ours, and stays, is
about 40 bytes for a row of 782 bytes of text and 950 of tokens.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LENGTH = 256  # tokens
WAYS = ("bare", "ours", "ours again")


def make_reviews(file: Path, rows: int) -> None:
    """Rows of 131 words and about 770 characters on average, most short and a few very long, in two classes."""
    import numpy as np

    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    weights = 1 / np.arange(1, 27) ** 0.7
    words = np.array(
        [
            "".join(random.choice(letters, size=size, p=weights / weights.sum()))
            for size in random.integers(1, 10, 30_000)
        ]
    )
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for number in range(rows):
            size = int(np.clip(random.lognormal(4.55, 0.75), 5, 1000))
            # Zipf's law, about: few words are most of a text.
            chosen = words[(30_000 * random.random(size) ** 3).astype(int)]
            writer.writerow([f"{' '.join(chosen).capitalize()}, number {number}.", number % 2])


def ours(file: Path, cache: Path) -> int:
    """By this package: files checked, rows checked, classes, hygiene, content hash, tokens. Returns the tokens."""
    from llama_experiments.data.hygiene import check_rows
    from llama_experiments.data.rows import load_rows
    from llama_experiments.data.sources import LocalFiles
    from llama_experiments.data.tokenized import encode
    from llama_experiments.tasks.classification import SequenceClassification

    few = file.with_name("few.csv")
    with file.open(encoding="utf-8") as stream:
        few.write_text("".join(next(stream) for _ in range(21)), encoding="utf-8")
    dataset = LocalFiles(train=str(file), validation=str(few))
    rows = load_rows(dataset, SequenceClassification(max_length=LENGTH))
    task = SequenceClassification(max_length=LENGTH).bind(rows, None)
    rows, _ = check_rows({part: task.prepared(rows[part]) for part in rows}, task, dataset)
    return int(encode(rows["train"], task, tokenizer(), cache).lengths.sum())


def bare(file: Path) -> int:
    """By `datasets` alone, with the same tokenizer. Returns the tokens."""
    import datasets
    import pyarrow.compute as pc

    own = tokenizer()
    table = datasets.load_dataset("csv", data_files=str(file), split="train")
    table = table.map(lambda rows: own(rows["text"], truncation=True, max_length=LENGTH), batched=True)
    return int(pc.sum(pc.list_value_length(table.data.column("input_ids"))).as_py())


def tokenizer() -> PreTrainedTokenizerFast:
    """The embedded model's."""
    from llama_experiments.models.tokenizer import load_tokenizer
    from llama_experiments.paths import resolve

    return load_tokenizer(resolve("pkg://embedded/model"))


def measure(way: str, file: Path, cache: Path) -> None:
    """Time one way in this process, and the memory that is its own (not the pages of mapped files)."""
    import datasets

    datasets.disable_progress_bars()
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            status = Path("/proc/self/status").read_text()
            most[0] = max(most[0], int(status.split("RssAnon:")[1].split()[0]))

    watcher = threading.Thread(target=watch, daemon=True)
    tokenizer()  # with the imports, which are no part of this
    started, used = time.perf_counter(), time.process_time()
    watcher.start()
    tokens = bare(file) if way == "bare" else ours(file, cache)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    done.set()
    print(f"{way:<11} {seconds:7.1f} s  {cpu:7.1f} s of CPU  {most[0] / 1024:7.0f} MB at most  {tokens:,} tokens")


def main() -> None:
    """Make the file unless it is there, then time each way in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=560_000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    file, cache = given.folder / f"reviews-{given.rows}.csv", given.folder / "cache"
    if given.way:
        measure(given.way, file, cache)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        make_reviews(file, given.rows)
    print(f"{given.rows:,} rows, {file.stat().st_size / 1e6:.0f} MB")
    for way in WAYS:
        if way != "ours again":  # nothing is kept from before
            shutil.rmtree(given.folder / "huggingface", ignore_errors=True)
            shutil.rmtree(cache, ignore_errors=True)
        environment = os.environ | {"HF_HOME": str(given.folder / "huggingface"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, __file__, str(given.folder), "--rows", str(given.rows), "--way", way]
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
