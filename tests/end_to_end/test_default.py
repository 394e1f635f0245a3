"""What a newcomer runs first: the default experiment, as it is promised."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from llama_experiments.embedded.generate import HERE
from tests.conftest import Command


def test_the_default_learns_what_words_alone_do_not_tell(command: Command, tmp_path: Path) -> None:
    done = command("hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    epochs = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    accuracy = epochs[-1]["metrics"]["accuracy"]
    assert [record["epoch"] for record in epochs] == [0, 1, 2, 3]
    assert 0.45 <= epochs[0]["metrics"]["accuracy"] <= 0.6  # a new head guesses
    assert 0.80 <= accuracy < 1.0
    assert accuracy >= bag_of_words() + 0.05
    assert epochs[-1]["eval_loss"] < epochs[0]["eval_loss"]
    lines = [line for line in done.stdout.splitlines() if line.startswith("Epoch ")]
    told = f"Epoch 3/3  training loss {epochs[3]['train_loss']:.4f}  evaluation loss {epochs[3]['eval_loss']:.4f}"
    assert lines[3].startswith(f"{told}  accuracy {accuracy:.3f}")


def bag_of_words() -> float:
    """The accuracy of a logistic regression on word counts, on the same rows."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    parts = []
    for part in ("train", "validation"):
        with (HERE / "data" / f"reviews.{part}.tsv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        parts.append(([row["sentence"] for row in rows], [row["label"] for row in rows]))
    (texts, labels), (validation_texts, validation_labels) = parts
    counter = CountVectorizer()
    model = LogisticRegression(max_iter=2000).fit(counter.fit_transform(texts), labels)
    return float(model.score(counter.transform(validation_texts), validation_labels))
