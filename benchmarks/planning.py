"""What `plan` says beside what runs took: memory (resident growth on a CPU, the allocator's on a GPU) and time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {
    "15M": "hidden_size=384 intermediate_size=1024 num_hidden_layers=8 num_attention_heads=6 num_key_value_heads=6",
    "30M": "hidden_size=512 intermediate_size=1408 num_hidden_layers=9 num_attention_heads=8 num_key_value_heads=8",
    "110M": "hidden_size=768 intermediate_size=2048 num_hidden_layers=15 num_attention_heads=12 "
    "num_key_value_heads=12",
}
CASES = [  # size, task, technique, further settings
    ("15M", "sentiment", "full", "dataset.train_examples=160"),
    ("15M", "sentiment", "full", "dataset.train_examples=160 training.micro_batch_size=2"),
    ("15M", "sentiment", "freeze", "dataset.train_examples=160"),
    ("15M", "sentiment", "freeze", "dataset.train_examples=160 training.save_model=none"),
    ("15M", "sentiment", "lora", "dataset.train_examples=160"),
    ("15M", "text_generation", "full", "dataset.train_examples=64"),
    ("15M", "text_generation", "freeze", "dataset.train_examples=64"),
    ("15M", "question_answering", "full", "dataset.train_examples=48"),
    ("15M", "question_answering", "lora", "dataset.train_examples=48 training.gradient_checkpointing=true"),
    ("15M", "text_generation", "full", "dataset.train_examples=64 training.precision=bf16"),
    ("30M", "sentiment", "full", "dataset.train_examples=96"),
    ("30M", "text_generation", "lora", "dataset.train_examples=48"),
    ("30M", "question_answering", "freeze_last", "dataset.train_examples=32"),
    ("110M", "sentiment", "full", "dataset.train_examples=24"),
    ("110M", "text_generation", "full", "dataset.train_examples=16 training.micro_batch_size=2"),
    ("110M", "question_answering", "freeze", "dataset.train_examples=24"),
    # The formula's figures were chosen on those above; these came afterwards.
    ("15M", "sentiment", "full", "dataset.train_examples=160 training.precision=fp32"),
    ("15M", "question_answering", "freeze_last", "dataset.train_examples=64"),
    ("30M", "sentiment", "lora", "dataset.train_examples=96"),
    ("30M", "text_generation", "full", "dataset.train_examples=32 training.batch_size=4"),
    ("110M", "sentiment", "freeze_last", "dataset.train_examples=48"),
    ("110M", "text_generation", "lora", "dataset.train_examples=8 training.batch_size=4"),
]
COMMON = ["model=embedded_from_scratch", "dataset.validation_examples=24", "training.epochs=1"]


def overrides(size: str, task: str, technique: str, more: str) -> list[str]:
    """Of a case."""
    shape = [f"model.{setting}" for setting in SIZES[size].split()]
    return [*COMMON, *shape, f"task={task}", f"technique={technique}", *more.split()]


# On a busy machine a second is not a second: both sides count the processor's, of one thread.
RUN = "import time; time.perf_counter = time.process_time; from llama_experiments.cli import main; "
RUN += "raise SystemExit(main())"


def measured(case: tuple[str, str, str, str], folder: Path) -> tuple[int, float]:
    """Bytes of growth and seconds of the epochs, of a run in a process of its own."""
    where = [f"output_dir={folder}", f"hydra.run.dir={folder / 'run'}"]
    command = [sys.executable, "-c", RUN, *overrides(*case), "training.check_memory=false", *where]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    result = json.loads((folder / "run" / "result.json").read_text())
    epochs = [json.loads(line) for line in (folder / "run" / "epochs.jsonl").read_text().splitlines()]
    return int(result["peak_memory_growth"]), sum(epoch["seconds"] for epoch in epochs)


def planned(case: tuple[str, str, str, str], folder: Path) -> tuple[int, float]:
    """The same, as planned."""
    command = [sys.executable, "-c", RUN, "plan", *overrides(*case), "--time", "--json"]
    done = subprocess.run(
        [*command, f"output_dir={folder}"], check=True, stdout=subprocess.PIPE, env=os.environ, text=True
    )
    job = json.loads(done.stdout)["jobs"][0]
    return int(job["memory"]["growth"]), float(job["seconds"])


def main() -> None:
    print("size  task                technique     memory: planned     took    off  time: planned    took    off")
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            memory, seconds = planned(case, folder)
            took, needed = measured(case, folder)
        off, slower = memory / took - 1, seconds / needed - 1
        print(
            f"{case[0]:5} {case[1]:19} {case[2]:12} {memory / 1e6:13.0f} MB {took / 1e6:5.0f} MB {off:+6.0%} "
            f"{seconds:12.1f} s {needed:5.1f} s {slower:+6.0%}  {' '.join(case[3].split()[1:])}",
            flush=True,
        )


if __name__ == "__main__":
    main()
