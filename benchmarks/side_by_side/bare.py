"""The floor: a bare PyTorch loop with length buckets, no mask and fused AdamW; it tracks and saves nothing."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from side_by_side.cases import Work
from side_by_side.data import Row
from side_by_side.encoding import encode, load

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

POOL = 64  # batches that are sorted by length together
EVALUATION_BATCH = 32


def run(work: Work, way: str) -> dict[str, Any]:
    """Train and evaluate each epoch."""
    import torch

    model, tokenizer = load(work)
    parts = encode(work, tokenizer)
    started = time.time()
    batches = -(-len(parts["train"]) // work.batch_size)
    matrices: list[torch.nn.Parameter] = []
    vectors: list[torch.nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (matrices if parameter.ndim >= 2 else vectors).append(parameter)
    groups = [{"params": matrices, "weight_decay": work.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=work.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (work.epochs * batches))
    shuffle = random.Random(work.seed)
    losses = {}
    for _ in range(work.epochs):
        model.train()
        losses["train_loss"] = _mean(
            [_step(model, rows, optimizer, schedule, work) for rows in _bucketed(parts["train"], work, shuffle)]
        )
        model.eval()
        ordered = sorted(parts["validation"], key=lambda row: -len(row["input_ids"]))
        with torch.inference_mode():
            losses["eval_loss"] = _mean(
                [
                    _losses(model, ordered[at : at + EVALUATION_BATCH], work)
                    for at in range(0, len(ordered), EVALUATION_BATCH)
                ]
            )
    tokens = sum(len(row["input_ids"]) for row in parts["train"])
    return {"spans": [(started, time.time(), 1)], "tokens": tokens, **losses}


def _mean(sums: list[tuple[torch.Tensor, int]]) -> float:
    return float(sum(total.item() for total, _ in sums) / sum(count for _, count in sums))


def _bucketed(rows: list[Row], work: Work, shuffle: random.Random) -> list[list[Row]]:
    mixed = shuffle.sample(rows, len(rows))
    pool, size = POOL * work.batch_size, work.batch_size
    found = []
    for at in range(0, len(mixed), pool):
        some = sorted(mixed[at : at + pool], key=lambda row: len(row["input_ids"]))
        found += [some[cut : cut + size] for cut in range(0, len(some), size)]
    return shuffle.sample(found, len(found))


def _step(model: PreTrainedModel, rows: list[Row], optimizer: Any, schedule: Any, work: Work) -> Any:
    import torch

    total, count = _losses(model, rows, work)
    (total / count).backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    return total.detach(), count


def _losses(model: PreTrainedModel, rows: list[Row], work: Work) -> tuple[torch.Tensor, int]:
    """The sum of a batch's losses, and of how many; heads are applied where they are needed only."""
    import torch
    from torch.nn.functional import cross_entropy

    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row["input_ids"]) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]  # of what is real; the model is not told
    with torch.autocast("cpu", torch.bfloat16, enabled=work.bf16):
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # [batch, length, hidden]
        if work.task == "sentiment":
            logits = model.score(hidden[torch.arange(len(rows)), lengths - 1])
            labels = torch.tensor([row["labels"] for row in rows])
        elif work.task == "text_generation":
            predicts = mask[:, 1:]
            logits, labels = model.lm_head(hidden[:, :-1][predicts]), ids[:, 1:][predicts]
        else:
            both = model.qa_outputs(hidden).float().masked_fill(~mask[:, :, None], -torch.inf)
            logits = both.transpose(1, 2).flatten(0, 1)  # [batch x 2, length]
            labels = torch.tensor([row[name] for row in rows for name in ("start_positions", "end_positions")])
    losses = cross_entropy(logits.float(), labels, reduction="sum")
    return (losses / 2, len(rows)) if work.task == "question_answering" else (losses, len(labels))
