"""What moved, in words: a section of `report.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llama_experiments.techniques.parts import part_of
from llama_experiments.techniques.proof import Tensor
from llama_experiments.training.tuning import Attempt


def movement_section(tensors: Sequence[Tensor], learning_rate: float) -> list[str]:
    """The freeze proof by parts of the model, as lines of Markdown: the hashes before and after, compared."""
    parts: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        parts.setdefault(part_of(tensor.name), []).append(tensor)
    lines = ["## What moved", ""]
    lines += ["| part | parameters | that may move | peak rate | tensors that moved | that did not |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for part, inside in parts.items():
        may = [tensor for tensor in inside if tensor.multiplier is not None]
        moved = sum(tensor.moved for tensor in inside)
        lines.append(
            f"| {part} | {_size(inside):,} | {_size(may):,} | {_rates(may, learning_rate)} | {moved} "
            f"| {len(inside) - moved} |"
        )
    frozen = [tensor for tensor in tensors if tensor.multiplier is None]
    still = [tensor.name for tensor in tensors if tensor.multiplier is not None and not tensor.moved]
    told = f"By the tensors' hashes before and after: of the {len(frozen)} that were frozen no bit moved"
    told += f", and of the {len(tensors) - len(frozen)} that may move all did." if not still else "."
    if still:
        told += f" {len(still)} may move but did not, since their rate is below their rounding: {', '.join(still)}."
    return [*lines, "", f"{told} Each hash is in [movement.json](movement.json)."]


def tuning_section(attempts: Sequence[Attempt], chosen: float) -> list[str]:
    """The learning rates that were tried, as lines of Markdown."""
    lines = ["## The learning rate", "", "| tried | lowest loss on the rows held out | seconds |", "|---:|---:|---:|"]
    for attempt in attempts:
        mark = "**" if attempt.learning_rate == chosen else ""
        loss = f"{attempt.loss:.4f}" if attempt.loss < float("inf") else "diverged"
        lines.append(f"| {mark}{attempt.learning_rate:g}{mark} | {mark}{loss}{mark} | {attempt.seconds:.1f} |")
    told = "Chosen on a part of the training rows that was held out for this; then all of them were trained on."
    if len(attempts) > 1 and chosen in (attempts[0].learning_rate, attempts[-1].learning_rate):
        told += " It is at the edge of what was tried: a better one may lie beyond (`tuning.multipliers`)."
    return [*lines, "", told]


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.parameters for tensor in tensors)


def _rates(tensors: Iterable[Tensor], learning_rate: float) -> str:
    rates = sorted({tensor.multiplier * learning_rate for tensor in tensors if tensor.multiplier is not None})
    return " to ".join(f"{rate:.3g}" for rate in dict.fromkeys([*rates[:1], *rates[-1:]])) or "--"
