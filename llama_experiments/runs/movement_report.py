"""What moved, in words: a section of `report.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llama_experiments.techniques.parts import EMBEDDINGS, HEAD, part_of, top_down
from llama_experiments.techniques.proof import Tensor, told_names
from llama_experiments.training.tuning import Attempt


def movement_section(tensors: Sequence[Tensor], learning_rate: float, *, pictured: bool = False) -> list[str]:
    """The freeze proof by parts of the model, from the head down, as lines of Markdown.

    Args:
        tensors: of the whole model, their hashes before and after compared.
        learning_rate: training.learning_rate, which the tensors' multipliers multiply.
        pictured: whether there is a rates.png.
    """
    parts: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        parts.setdefault(part_of(tensor.name), []).append(tensor)
    lines = ["## What moved", ""]
    lines += ["| part | parameters | that may move | peak rate | tensors that moved | that did not |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for part in top_down(parts):
        inside = parts[part]
        may = [tensor for tensor in inside if tensor.multiplier is not None]
        moved = sum(tensor.moved for tensor in inside)
        # Without a head of its own the model has the embeddings for one, and they move at their own rate.
        shown = "embeddings, the head too" if part == EMBEDDINGS and HEAD not in parts else part
        lines.append(
            f"| {shown} | {_size(inside):,} | {_size(may):,} | {_rates(may, learning_rate)} | {moved} "
            f"| {len(inside) - moved} |"
        )
    picture = ["", "![the learning rate of each group, by step and at its peak](rates.png)"] if pictured else []
    return [*lines, "", f"{_verdict(tensors)} Each hash is in [movement.json](movement.json).", *picture]


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


def _verdict(tensors: Sequence[Tensor]) -> str:
    """What the hashes prove. Had a frozen tensor moved, the run would have failed, and nobody would read this."""
    frozen = [tensor for tensor in tensors if tensor.multiplier is None]
    still = [tensor.name for tensor in tensors if tensor.multiplier is not None and not tensor.moved]
    may = len(tensors) - len(frozen)
    of_frozen = "the one that was frozen" if len(frozen) == 1 else f"the {len(frozen)} that were frozen"
    told = "By the tensors' hashes before and after, " + (f"no bit of {of_frozen} moved, and " if frozen else "")
    if not may:
        return f"{told}none may move."
    if not still:
        return f"{told}{'the one that may move did' if may == 1 else f'all {may} that may move did'}."
    # The proof lets this pass, for it is the arithmetic's doing and not the technique's.
    return (
        f"{told}{len(still)} of the {may} that may move did not, in steps that were too few or below their rounding: "
        f"{told_names(still)}."
    )


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.parameters for tensor in tensors)


def _rates(tensors: Iterable[Tensor], learning_rate: float) -> str:
    rates = sorted({tensor.multiplier * learning_rate for tensor in tensors if tensor.multiplier is not None})
    return " to ".join(f"{rate:.3g}" for rate in dict.fromkeys([*rates[:1], *rates[-1:]])) or "--"
