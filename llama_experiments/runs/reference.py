"""Losses that somebody printed, to set beside a run's own."""

from __future__ import annotations

import dataclasses
from typing import Any

from llama_experiments.errors import check_settings

SOURCE = "as printed in the chapter, unverified"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """The losses of a run on a data set, epoch by epoch."""

    dataset: str  # its name on the Hub; a run on other data is not compared
    train_loss: list[float]  # from epoch 1 on
    eval_loss: list[float]

    def __post_init__(self) -> None:
        same = len(self.train_loss) == len(self.eval_loss)
        check_settings(("eval_loss", same, "must have as many values as train_loss"))

    def table(self, epochs: list[dict[str, Any]]) -> list[str]:
        """Lines of Markdown: both losses of each epoch beside the printed ones."""
        own = {record["epoch"]: record for record in epochs}
        lines = [
            f"Losses beside those on {self.dataset} {SOURCE}:",
            "",
            "| epoch | training loss | printed | evaluation loss | printed |",
            "|---:|---:|---:|---:|---:|",
        ]
        for epoch, printed in enumerate(zip(self.train_loss, self.eval_loss, strict=True), 1):
            record = own.get(epoch, {})
            cells = [_number(record.get("train_loss")), printed[0], _number(record.get("eval_loss")), printed[1]]
            lines.append(f"| {epoch} | {' | '.join(str(cell) for cell in cells)} |")
        return lines


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "--"
