"""Tiny stand-ins that every test can afford: a Llama of two layers, its tokenizer, a handful of rows."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test needs the Hub; those about it start a server of their own
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["OMP_NUM_THREADS"] = "1"  # a test worker for each core: more threads would wait for each other

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"

GOOD = ["lovely", "warm", "bright", "clever", "funny", "moving", "graceful", "honest"]
BAD = ["dull", "cold", "clumsy", "boring", "sad", "noisy", "broken", "lazy"]
THINGS = ["film", "book", "kettle", "hotel", "song", "garden", "train", "play"]


def sentences(rows: int, start: int = 0) -> list[tuple[str, str]]:
    """Rows of (text, label name), of several lengths; a model can learn them and no two are alike."""
    made = []
    for number in range(start, start + rows):
        words, label = (GOOD, "positive") if number % 2 else (BAD, "negative")
        thing = THINGS[(number // 2) % len(THINGS)]
        text = f"Number {number}: the {thing} was {words[number % 8]}"
        text += f" and {words[(number * 3 + 1) % 8]}" * (number % 5) + "."
        made.append((text, label))
    return made


def write_table(path: Path, rows: list[tuple[object, ...]], header: tuple[str, ...] = ("text", "label")) -> Path:
    """A CSV, or a TSV by its suffix."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only a sentencepiece `tokenizer.model`, of 320 pieces with byte fallback, like Llama 2's."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [text for text, _ in sentences(400)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=320,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    return folder


@pytest.fixture(scope="session")
def model_folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal Llama of two layers, random weights, tied embeddings and 64 positions, with its tokenizer."""
    return save_tiny_llama(tmp_path_factory.mktemp("model"), tokenizer_folder)


def save_tiny_llama(folder: Path, tokenizer_folder: Path, **settings: object) -> Path:
    """Save a tiny causal Llama into `folder`; `settings` are LlamaConfig's."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from llama_experiments.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder)
    shape: dict[str, object] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.1,
    }
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**(shape | settings))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def reviews(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a validation CSV with the columns text and label."""
    return (
        write_table(tmp_path / "train.csv", [*sentences(48)]),
        write_table(tmp_path / "validation.csv", [*sentences(24, start=100)]),
    )


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `python -m llama_experiments ...` in a folder of its own, as a user would."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llama_experiments", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )

    return run


@pytest.fixture
def local_run(model_folder: Path, reviews: tuple[Path, Path]) -> list[str]:
    """Overrides of a run of seconds: the tiny model on the tiny reviews."""
    train, validation = reviews
    return [
        "model=local",
        f"model.checkpoint={model_folder}",
        "model.learning_rate=1e-3",
        "dataset=local_sentiment",
        f"dataset.train={train}",
        f"dataset.validation={validation}",
        "task.max_length=48",
        "training.epochs=1",
    ]
