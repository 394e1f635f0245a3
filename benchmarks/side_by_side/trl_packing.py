"""TRL's SFT with packing: documents laid end to end to full rows.

Cut where a row is full (`wrapped`): TRL's other way lays a whole batch into one row under a mask that attention on a
CPU does not skip, and took seven times the CPU time here.
"""

from __future__ import annotations

from typing import Any

from side_by_side.cases import Work
from side_by_side.encoding import encode, load
from side_by_side.trainer import arguments, result, timed


def run(work: Work, way: str) -> dict[str, Any]:
    """The same tokens, packed; a batch's rows are full, so an epoch has fewer steps than ours."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    model, tokenizer = load(work)
    parts = encode(work, tokenizer)
    tables = {
        part: datasets.Dataset.from_list([{"input_ids": row["input_ids"]} for row in rows])
        for part, rows in parts.items()
    }
    settings = arguments(
        work,
        True,
        SFTConfig,
        packing=True,
        packing_strategy="wrapped",
        eval_packing=True,
        max_length=work.max_length,
        train_sampling_strategy="random",  # packed rows are of one length
        remove_unused_columns=True,
        gradient_checkpointing=False,  # TRL's default costs a third more
    )
    trainer = timed(SFTTrainer)(
        model=model,
        args=settings,
        train_dataset=tables["train"],
        eval_dataset=tables["validation"],
        processing_class=tokenizer,
    )
    trainer.train()
    return result(trainer) | {"tokens": sum(len(row["input_ids"]) for row in parts["train"])}
