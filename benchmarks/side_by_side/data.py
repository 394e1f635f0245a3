"""The rows of a case as two files that every side reads: real data where it lies beside the project, else ours."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from side_by_side.cases import Case

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared" / "data"
EMBEDDED = PROJECT / "llama_experiments" / "embedded" / "data"
SHOTS = 4
SHOT_LENGTH = 50  # characters, about: so that all of them fit before every row

Row = dict[str, Any]


def write_rows(case: Case, folder: Path) -> dict[str, str]:
    """Write the case's rows into `folder`; returns {train, validation} for a `Work`."""
    files = {}
    for part, size in zip(("train", "validation"), case.rows, strict=True):
        rows = _shots() if case.technique == "few_shot" and part == "train" else READERS[case.data](part)
        if len(rows) > size:
            rows = random.Random(0).sample(rows, size)
        file = folder / f"{part}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files[part] = str(file)
    return files


def read_rows(file: str) -> list[Row]:
    """The rows of one such file."""
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def _tsv(file: Path) -> list[Row]:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    names = {"negative": 0, "positive": 1}
    return [
        {"text": row["sentence"], "label": int(names.get(row["label"], row["label"]))}
        for row in rows
        if row["sentence"].strip()
    ]


def _sentiment(folder: str, name: str) -> Callable[[str], list[Row]]:
    def read(part: str) -> list[Row]:
        if SHARED.exists():
            return _tsv(SHARED / folder / f"{name}{'train' if part == 'train' else 'dev'}.tsv")
        return _tsv(EMBEDDED / f"reviews.{part}.tsv")

    return read


def _shots() -> list[Row]:
    """Just as many training rows as are shown, two of each class, so that every side shows the same."""
    rows = sorted(READERS["sst2"]("train"), key=lambda row: abs(len(row["text"]) - SHOT_LENGTH))
    return [row for label in (0, 1) for row in [row for row in rows if row["label"] == label][: SHOTS // 2]]


def _squad(part: str) -> list[Row]:
    """Questions of articles that the other part has none of."""
    if SHARED.exists():
        articles = json.loads((SHARED / "squad" / "train-v1.1.subset.json").read_text(encoding="utf-8"))["data"]
        articles = articles[: 2 * len(articles) // 3] if part == "train" else articles[2 * len(articles) // 3 :]
    else:
        articles = json.loads((EMBEDDED / f"passages.{part}.json").read_text(encoding="utf-8"))["data"]
    return [
        {
            "question": question["question"].strip(),
            "context": paragraph["context"],
            "answers": {
                "text": [answer["text"] for answer in question["answers"]],
                "answer_start": [answer["answer_start"] for answer in question["answers"]],
            },
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def _wikitext(part: str) -> list[Row]:
    """Paragraphs: of the file's head for training, of its tail for the evaluation."""
    if SHARED.exists():
        lines = (SHARED / "wikitext2" / "wiki.valid.tokens").read_text(encoding="utf-8").splitlines()
        texts = [line.strip() for line in lines if line.strip() and not line.strip().startswith("=")]
        texts = texts[: 3 * len(texts) // 4] if part == "train" else texts[3 * len(texts) // 4 :]
        # Ours reads what a text spells, AutoTokenizer a special token: without it both read the same.
        return [{"text": text.replace("<unk>", "unk")} for text in texts]
    return [{"text": row["text"]} for row in read_rows(str(EMBEDDED / f"stories.{part}.jsonl"))]


READERS: dict[str, Callable[[str], list[Row]]] = {
    "sst2": _sentiment("sst2", ""),
    "books": _sentiment("reviews", "books."),
    "squad": _squad,
    "wikitext": _wikitext,
}
