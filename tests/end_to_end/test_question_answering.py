"""A whole question-answering run, and its predictions found again with plain transformers and its saved model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from llama_experiments.models.base import quiet_transformers
from tests.runs.made import run_command
from tests.tasks.questions import questions

LENGTH, STRIDE, LONGEST, N_BEST = 40, 8, 6, 5


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its output, journal and predictions, the rows it read, its folder."""

    out: str
    epochs: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    folder: Path


def squad(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as SQuAD's JSON, version 2."""
    paragraphs = [
        {
            "context": row["context"],
            "qas": [
                {
                    "id": str(number),
                    "question": row["question"],
                    "is_impossible": not row["answers"]["text"],
                    "answers": [
                        {"text": text, "answer_start": start}
                        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
                    ],
                }
            ],
        }
        for number, row in enumerate(rows)
    ]
    return {"version": "made", "data": [{"title": "Made", "paragraphs": paragraphs}]}


def made_run(home: Path, name: str, model: Path, rows: dict[str, list[dict[str, Any]]], *overrides: str) -> Run:
    """A run in `home`, where all share their outputs' folder."""
    (home / name).mkdir()
    for part, part_rows in rows.items():
        (home / name / f"{part}.json").write_text(json.dumps(squad(part_rows)), encoding="utf-8")
    status, out, err = run_command(
        home,
        *("task=question_answering", f"task.max_length={LENGTH}", f"task.stride={STRIDE}"),
        *(f"task.max_answer_tokens={LONGEST}", f"+task.n_best={N_BEST}"),
        *(
            "dataset=local_squad",
            *(f"dataset.{part}={name}/{part}.json" for part in rows),
            f"hydra.run.dir={name}/run",
        ),
        *("model=local", f"model.checkpoint={model}", "training.learning_rate=3e-3", *overrides),
    )
    assert status == 0, err
    run = home / name / "run"
    epochs = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    return Run(out, epochs, pq.read_table(run / "predictions.parquet").to_pylist(), rows["validation"], run)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(model_folder: Path, home: Path) -> Run:
    rows = {"train": questions(48), "validation": questions(16, start=100)}
    return made_run(home, "first", model_folder, rows, "training.epochs=2", "training.save_model=last")


@pytest.fixture(scope="module")
def second(model_folder: Path, home: Path) -> Run:
    """With questions that have no answer."""
    rows = {"train": questions(48, unanswerable=True), "validation": questions(18, start=100, unanswerable=True)}
    return made_run(home, "second", model_folder, rows, "training.epochs=1", "training.save_model=none")


@dataclasses.dataclass(frozen=True)
class Found:
    """All spans of a question as (score, first and last character), best first, and its null score."""

    spans: list[tuple[float, int, int]]
    null: float


def by_trying_all(model: Path, question: str, context: str) -> Found:
    """Every span of every window, through plain transformers: as a user of the saved model would do it."""
    with quiet_transformers():
        plain = AutoModelForQuestionAnswering.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = tokenizer(f"{question}\n")["input_ids"]
    read = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    room = LENGTH - len(asked) - 1
    best: dict[tuple[int, int], float] = {}
    null = float("inf")
    for at in range(0, len(read["input_ids"]), room - STRIDE):
        part, places = read["input_ids"][at : at + room], read["offset_mapping"][at : at + room]
        with torch.no_grad():
            out = plain(torch.tensor([[*asked, *part, tokenizer.eos_token_id]]))
        starts, ends = (logits[0].log_softmax(0).tolist() for logits in (out.start_logits, out.end_logits))
        null = min(null, starts[-1] + ends[-1])
        for a, (first, here) in enumerate(places):
            for b in range(a, min(a + LONGEST, len(part))):
                start = first + len(context[first:here]) - len(context[first:here].lstrip())
                place = (start, places[b][1])
                if context[first:here].strip() and context[places[b][0] : places[b][1]].strip():
                    score = starts[len(asked) + a] + ends[len(asked) + b]
                    best[place] = max(score, best.get(place, -float("inf")))
        if at + room >= len(read["input_ids"]):
            break
    return Found(sorted(((score, *place) for place, score in best.items()), reverse=True), null)


def test_predictions_are_the_best_spans_over_all_windows(first: Run) -> None:
    assert [row["row"] for row in first.predictions] == list(range(1, 17))
    for told, row in zip(first.predictions, first.rows, strict=True):
        found = by_trying_all(first.folder / "model", row["question"], row["context"])
        assert (told["question"], told["references"]) == (row["question"], row["answers"]["text"])
        assert len(told["n_best"]) == N_BEST
        scores = [span["score"] for span in told["n_best"]]
        assert scores == pytest.approx([span[0] for span in found.spans[:N_BEST]], abs=1e-4)
        assert told["null_margin"] == pytest.approx(found.null - found.spans[0][0], abs=1e-4)
        assert all(row["context"][span["start"] : span["end"]] == span["text"] for span in told["n_best"])
        known = {place: score for score, *place in found.spans for place in [tuple(place)]}
        assert scores == pytest.approx([known[span["start"], span["end"]] for span in told["n_best"]], abs=1e-4)
        best = told["n_best"][0]
        assert (told["prediction"], told["char_start"], told["char_end"]) == (
            best["text"],
            best["start"],
            best["end"],
        )
        assert told["exact_match"] == (told["prediction"] in row["answers"]["text"])
    assert max(row["count"] for row in first.predictions) > 1  # several windows


def test_what_the_run_tells(first: Run) -> None:
    assert [record["epoch"] for record in first.epochs] == [0, 1, 2]
    assert first.epochs[2]["eval_loss"] < first.epochs[1]["eval_loss"] < first.epochs[0]["eval_loss"]
    last = first.epochs[2]
    for metric in ("exact_match", "f1"):
        mean = sum(row[metric] for row in first.predictions) / len(first.predictions)
        assert last["metrics"][metric] == pytest.approx(mean)
    assert last["metrics"].keys() == {"exact_match", "f1"}
    windows = sum(row["count"] for row in first.predictions)
    assert last["eval_loss"] == pytest.approx(sum(row["loss"] for row in first.predictions) / windows)
    line = f"Epoch 2/2  training loss {last['train_loss']:.4f}  evaluation loss {last['eval_loss']:.4f}  exact match"
    assert line in first.out


def test_questions_without_an_answer(second: Run) -> None:
    unanswerable = [not row["answers"]["text"] for row in second.rows]
    assert [not row["references"] for row in second.predictions] == unanswerable
    for row in second.predictions:
        silent = row["null_margin"] > 0
        assert row["prediction"] == ("" if silent else row["best_span"])
        if not row["references"]:
            assert row["exact_match"] == row["f1"] == float(silent)
    metrics = second.epochs[-1]["metrics"]
    right = [row["exact_match"] for row in second.predictions if not row["references"]]
    assert metrics["no_answer_accuracy"] == pytest.approx(sum(right) / len(right))
    assert metrics["f1"] <= metrics["best_f1"] <= 1
    assert metrics.keys() == {"exact_match", "f1", "no_answer_accuracy", "best_f1", "best_null_threshold"}


def test_a_saved_model_is_the_checkpoint_of_a_further_run(first: Run, home: Path) -> None:
    """Its epoch 0 is where the first run ended; no head is fresh."""
    rows = {"train": questions(48), "validation": first.rows}
    again = made_run(home, "third", first.folder / "model", rows, "training.epochs=1", "seed=5")
    assert again.epochs[0]["eval_loss"] == pytest.approx(first.epochs[-1]["eval_loss"], abs=1e-9)
    assert again.epochs[0]["metrics"] == first.epochs[-1]["metrics"]
