"""Few-shot as people write it: for each row, for each class's word, one pass over the whole prompt.

The same four examples as ours, in the file's order; ours draws the order, so losses differ a little.
"""

from __future__ import annotations

import time
from typing import Any

from side_by_side.cases import Work
from side_by_side.data import read_rows
from side_by_side.encoding import load

WORDS = ("negative", "positive")


def run(work: Work, way: str) -> dict[str, Any]:
    """The cross-entropy over the words, each the sum of its tokens' log-probabilities after the prompt."""
    import torch

    model, tokenizer = load(work)
    shots = [f"Review: {row['text']}\nSentiment: {WORDS[row['label']]}" for row in read_rows(work.train)]
    started, total, rows = time.time(), 0.0, read_rows(work.validation)
    model.eval()
    with torch.inference_mode():
        for row in rows:
            prompt = "\n\n".join([*shots, f"Review: {row['text']}\nSentiment:"])
            scores = []
            for word in WORDS:
                encoded = tokenizer(f"{prompt} {word}", return_offsets_mapping=True)
                ids = torch.tensor([encoded["input_ids"]])
                first = next(at for at, (_, end) in enumerate(encoded["offset_mapping"]) if end > len(prompt))
                logits = model(input_ids=ids, use_cache=False).logits[0, first - 1 : -1]
                scores.append(logits.log_softmax(dim=-1).gather(1, ids[0, first:, None]).sum())
            total -= float(torch.stack(scores).log_softmax(dim=0)[row["label"]])
    return {
        "spans": [(started, time.time(), 1)],
        "train_loss": None,
        "eval_loss": total / len(rows),
        "tokens": 0,
    }
