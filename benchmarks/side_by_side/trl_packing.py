"""TRL's SFT with packing: documents laid end to end to full rows.

Cut where a row is full (`wrapped`): TRL's other way lays a whole batch into one row under a mask that attention on a
CPU does not skip, and took seven times the CPU time here.
"""

from __future__ import annotations

from typing import Any

from side_by_side.cases import Work
from side_by_side.encoding import load, tables
from side_by_side.trainer import arguments, result, timed


def run(work: Work, way: str) -> dict[str, Any]:
    """The same tokens, packed; a batch's rows are full, so an epoch has fewer steps than ours."""
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load(work)
    parts = tables(work, tokenizer)
    tokens = sum(parts["train"]["length"])
    parts = parts.select_columns(["input_ids"])
    settings = arguments(
        work,
        True,
        SFTConfig,
        packing=True,
        packing_strategy="wrapped",
        eval_packing=True,
        max_length=work.max_length,
        train_sampling_strategy="random",  # packed rows are of one length
        gradient_checkpointing=work.gradient_checkpointing,  # TRL's default is true, which costs a third more
    )
    trainer = timed(SFTTrainer)(
        model=model,
        args=settings,
        train_dataset=parts["train"],
        eval_dataset=parts["validation"],
        processing_class=tokenizer,
    )
    trainer.train()
    return result(trainer) | {"tokens": tokens}
