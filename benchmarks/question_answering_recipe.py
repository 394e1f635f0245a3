"""Extractive question answering: ours beside the common recipe of plain transformers, on the same questions.

By hand, in minutes on a CPU, with SQuAD's JSON and any small Llama:

    OMP_NUM_THREADS=1 python benchmarks/question_answering_recipe.py SQUAD.json LLAMA_FOLDER

The questions of a seeded part of the articles are trained on (600), those of the others held out (200); 3 epochs at
1e-3, batches of 8, 512 tokens. The recipe is the one of most tutorials: `tokenizer(question, context,
truncation="only_second", max_length=512, padding="max_length")`, a row a question, position 0 for an answer that is
cut off, and `LlamaForQuestionAnswering.from_pretrained`, which loads none of a causal checkpoint's trunk unless the
keys are mapped. Of ours two losses are told: over all windows, which is what a run reports, and over each question's
first window alone (`first`), which has the words that the recipe's one row has.

With the stories260K Llama and 44 articles of SQuAD 1.1 (2 cores, fp32, seed 0), held-out losses after each epoch:

    ours                   all windows    3.7928  3.7473  3.9368
    ours                   first windows  4.3137  4.3538  4.7523
    recipe                 its rows       4.9610  4.7378  4.7321
    recipe, trunk loaded   its rows       4.3576  4.2124  4.5056

So the trunk is what the recipe lacks. Ours learns later windows too, which most often hold no answer; on first
windows alone it is no better than the recipe with the trunk loaded, which learns and sees nothing else.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TRAIN, HELD_OUT = 600, 200  # questions
EPOCHS, BATCH, RATE, DECAY, LENGTH = 3, 8, 1e-3, 0.01, 512
SPLIT_SEED = 0

Row = dict[str, Any]  # context, question, start and text of the answer
Losses = dict[str, float]  # of an epoch, nats an item


def split(squad: Path) -> dict[str, list[Row]]:
    """Seeded questions of some articles, and of whole other articles."""
    articles = json.loads(squad.read_text(encoding="utf-8"))["data"]
    order = random.Random(SPLIT_SEED)
    order.shuffle(articles)
    cut = len(articles) // 4
    parts = {"validation": (articles[:cut], HELD_OUT), "train": (articles[cut:], TRAIN)}
    return {part: order.sample(list(rows_of(chosen)), size) for part, (chosen, size) in parts.items()}


def rows_of(articles: list[Row]) -> Iterator[Row]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answer = question["answers"][0]
                yield {
                    "context": paragraph["context"],
                    "question": question["question"],
                    "text": answer["text"],
                    "start": answer["answer_start"],
                }


def ours(parts: dict[str, list[Row]], llama: Path, folder: Path, seed: int) -> Iterator[Losses]:
    """As a run does it, epoch by epoch; `first` is the loss over each held-out question's first window alone."""
    import datasets
    import numpy as np

    from llama_experiments.data.answers import answer_columns
    from llama_experiments.data.rows import Rows
    from llama_experiments.data.tokenized import encode
    from llama_experiments.models.checkpoint import Checkpoint
    from llama_experiments.tasks.question_answering import QuestionAnswering
    from llama_experiments.tasks.task_model import TaskModel
    from llama_experiments.techniques.base import Technique
    from llama_experiments.training.device import make_accelerator
    from llama_experiments.training.loop import fit
    from llama_experiments.training.settings import Training

    task = QuestionAnswering(max_length=LENGTH)
    training = Training(
        learning_rate=RATE,
        epochs=EPOCHS,
        batch_size=BATCH,
        weight_decay=DECAY,
        evaluate_first=False,
        precision="fp32",
    )
    loaded = Checkpoint(checkpoint=str(llama)).load(task, seed)
    examples = {}
    for part, rows in parts.items():
        columns = {name: [row[name] for row in rows] for name in ("question", "context")}
        columns["answers"] = [{"text": [row["text"]], "answer_start": [row["start"]]} for row in rows]
        table = datasets.Dataset.from_dict(columns).cast_column("answers", answer_columns())
        made = Rows(part, "SQuAD", table, np.arange(len(table)) + 1, {})
        examples[part] = encode(made, task, loaded.tokenizer, folder)
    _, first = np.unique(examples["validation"].fixed["row"], return_index=True)
    for epoch in fit(
        TaskModel(loaded.model, task),
        examples["train"],
        examples["validation"],
        training=training,
        groups=Technique().parameter_groups(loaded.model),
        seed=seed,
        accelerator=make_accelerator(training),
        on_step=lambda step: None,
    ):
        assert epoch.train_loss is not None
        assert epoch.evaluation is not None
        losses = epoch.evaluation.predictions["loss"]
        yield {"train": epoch.train_loss, "evaluation": epoch.evaluation.loss, "first": float(losses[first].mean())}


def recipe(
    parts: dict[str, list[Row]], llama: Path, key_mapping: dict[str, str] | None, seed: int
) -> Iterator[Losses]:
    """The tutorials' loop, with or without the mapping that loads the trunk; its rows are first windows."""
    import torch
    from transformers import AutoTokenizer, LlamaForQuestionAnswering, get_linear_schedule_with_warmup

    tokenizer = AutoTokenizer.from_pretrained(llama, padding_side="right")
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(seed)
    model = LlamaForQuestionAnswering.from_pretrained(llama, dtype=torch.float32, key_mapping=key_mapping)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    encoded = {part: features(rows, tokenizer) for part, rows in parts.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, EPOCHS * (TRAIN // BATCH))
    for _ in range(EPOCHS):
        model.train()
        order = torch.randperm(TRAIN)
        total = 0.0
        for at in range(0, TRAIN, BATCH):
            batch = {name: values[order[at : at + BATCH]].to(device) for name, values in encoded["train"].items()}
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item() * len(batch["input_ids"]) / TRAIN
        model.eval()
        evaluation = 0.0
        with torch.no_grad():
            for at in range(0, HELD_OUT, BATCH):
                held = {name: values[at : at + BATCH].to(device) for name, values in encoded["validation"].items()}
                evaluation += model(**held).loss.item() * len(held["input_ids"]) / HELD_OUT
        yield {"train": total, "first": evaluation}


def features(rows: list[Row], tokenizer: Any) -> dict[str, Any]:
    """A truncated row a question; position 0 for an answer that is cut off."""
    import torch

    encoded = tokenizer(
        [row["question"] for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=LENGTH,
        padding="max_length",
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    starts, ends = [], []
    for number, (row, offsets) in enumerate(zip(rows, encoded["offset_mapping"].tolist(), strict=True)):
        places = encoded.sequence_ids(number)
        begin, end = row["start"], row["start"] + len(row["text"])
        touching = [
            at for at, (a, b) in enumerate(offsets) if places[at] == 1 and a < end and b > begin and offsets[at][1]
        ]
        whole = touching and offsets[touching[-1]][1] >= end
        starts.append(touching[0] if whole else 0)
        ends.append(touching[-1] if whole else 0)
    return {
        "input_ids": encoded["input_ids"],
        "attention_mask": encoded["attention_mask"],
        "start_positions": torch.tensor(starts),
        "end_positions": torch.tensor(ends),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("squad", type=Path, help="SQuAD's JSON, version 1.1")
    parser.add_argument("llama", type=Path, help="a folder with a causal Llama")
    parser.add_argument("--seed", type=int, default=0, help="of heads and orders; the questions stay the same")
    options = parser.parse_args()
    parts, llama, seed = split(options.squad), options.llama.absolute(), options.seed
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "ours": ours(parts, llama, Path(folder), seed),
            "recipe": recipe(parts, llama, None, seed),
            "recipe, trunk loaded": recipe(parts, llama, {r"^model\.": "transformer."}, seed),
        }
        for name, way in ways.items():
            for epoch, losses in enumerate(way, 1):
                figures = "  ".join(f"{figure} {value:.4f}" for figure, value in losses.items())
                print(f"{name:<22}epoch {epoch}  {figures}", flush=True)


if __name__ == "__main__":
    main()
