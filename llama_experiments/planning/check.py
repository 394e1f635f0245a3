"""Before a run: can it fit the device; and if not, what would help."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import Mistake, UserError
from llama_experiments.planning.available import Available, available_memory, gigabytes

if TYPE_CHECKING:
    from llama_experiments.experiment import Experiment
    from llama_experiments.planning.memory import Memory
    from llama_experiments.planning.work import Lengths
    from llama_experiments.tasks.base import Task

SURELY = 0.5  # of what is there; a run of at most that is let through without a look
OFFERED = 2  # ways out that are told


def memory_mistake(experiment: Experiment) -> Mistake | None:
    """Why the run cannot fit the device, as far as that is sure; None where it may.

    Rows are read only where their length decides: their greatest would not fit, and the least would.
    """
    from llama_experiments.planning.memory import estimate_memory
    from llama_experiments.planning.shape import model_shape
    from llama_experiments.planning.skeleton import stand_in_task
    from llama_experiments.planning.work import Lengths, asked_task, at_most, read_work

    if not experiment.training.check_memory:
        return None
    try:
        shape = model_shape(experiment.model)
    except UserError:
        return None  # the run itself says what keeps it from the model
    available = share_of(available_memory(), experiment)
    if upper_bound(shape, experiment) <= SURELY * available.size:
        return None
    task = stand_in_task(asked_task(experiment), experiment.dataset.labels)
    lengths = at_most(experiment)
    needed = estimate_memory(experiment, shape, task, lengths, available.kind)
    if needed.peak <= available.size:
        return None
    least = estimate_memory(experiment, shape, task, Lengths(2, 2, 1, 1), available.kind)
    if least.peak <= available.size:
        work = read_work(experiment)
        task, lengths = work.task, work.lengths
        needed = estimate_memory(experiment, shape, task, lengths, available.kind)
        if needed.peak <= available.size:
            return None
    return refusal(experiment, shape, task, lengths, needed, available)


def refusal(
    experiment: Experiment,
    shape: Mapping[str, Any],
    task: Task,
    lengths: Lengths,
    needed: Memory,
    available: Available,
) -> Mistake:
    """The numbers, and the ways out that would be enough."""
    told = f"this needs about {gigabytes(needed.peak)} of memory ({parts(needed)}), and there are {available}"
    enough: list[str] = []
    for words, other in _lighter(experiment):
        from llama_experiments.planning.memory import estimate_memory

        size = estimate_memory(other, shape, task, lengths, available.kind).peak
        if size <= available.size:
            enough.append(f"{words} (about {gigabytes(size)})")
        if len(enough) == OFFERED:
            break
    if enough:
        advice = f"it would fit with {' or '.join(enough)}"
    else:
        advice = (
            "neither training.micro_batch_size=1, training.gradient_checkpointing=true, technique=lora nor "
            "training.precision=bf16 is enough, alone or together: take a smaller model or a larger machine"
        )
    return Mistake("", f"{told}; {advice}; training.check_memory=false tries it all the same")


def parts(memory: Memory) -> str:
    """What the memory is for, the largest first."""
    named = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer state": memory.optimizer,
        "activations": memory.activations,
        "evaluation": memory.evaluation if memory.evaluation > memory.gradients + memory.activations else 0,
    }
    told = [(name, size) for name, size in sorted(named.items(), key=lambda item: -item[1]) if size]
    processes = f", {memory.processes} processes" if memory.processes > 1 else ""
    return ", ".join(f"{name} {gigabytes(size)}" for name, size in told) + processes


def share_of(available: Available, experiment: Experiment) -> Available:
    """What each of the jobs at once may have; GPUs are given to jobs one each."""
    at_once = experiment.sweep.parallel if available.kind == "cpu" else 1
    if at_once == 1:
        return available
    where = f"for each of {at_once} jobs at once, {available.where}"
    return dataclasses.replace(available, size=available.size // at_once, where=where)


def upper_bound(shape: Mapping[str, Any], experiment: Experiment) -> float:
    """Bytes that the run surely does not exceed; told without torch, for the many runs that are far below."""
    hidden, inner = int(shape.get("hidden_size", 0)), int(shape.get("intermediate_size", 0))
    layers, heads = int(shape.get("num_hidden_layers", 0)), int(shape.get("num_attention_heads", 0))
    vocabulary, training = int(shape.get("vocab_size", 0)), experiment.training
    length = int(shape.get("max_position_embeddings", 0)) if not experiment.technique.trains else 0
    length = max(length, experiment.task.max_length)
    weights = 2 * vocabulary * hidden + layers * (4 * hidden * hidden + 3 * hidden * inner + 2 * hidden)
    rows = max(training.micro_batch_size or training.batch_size, training.evaluation_batch_size)
    tokens = rows * length
    # In numbers for a token: norms, projections with adapters beside them, attention, the gated product.
    of_layer = 64 * hidden + 16 * inner + (4 * heads * length if experiment.model.attention == "eager" else 0)
    logits = 8 * max(1 << 22, vocabulary) + tokens * (64 + 8 * hidden)
    return 4.0 * (5 * weights + tokens * layers * of_layer + logits) + 1e9


def _lighter(experiment: Experiment) -> Iterator[tuple[str, Experiment]]:
    """The experiment with less to hold, the least intrusive first: words for the command line, and it."""
    from llama_experiments.techniques.base import Technique
    from llama_experiments.techniques.lora import LoRA

    training = experiment.training
    small = {"micro_batch_size": 1} if experiment.technique.trains and training.micro_batch_size != 1 else {}
    if training.evaluation_batch_size > 1:
        small["evaluation_batch_size"] = 1
    checkpointing = {} if training.gradient_checkpointing else {"gradient_checkpointing": True}
    narrow = {} if training.precision in ("bf16", "fp16") else {"precision": "bf16"}
    ways: list[dict[str, Any]] = [small, checkpointing, small | checkpointing, small | checkpointing | narrow]
    techniques: list[tuple[list[str], Technique]] = [([], experiment.technique)]
    if type(experiment.technique) is Technique:
        techniques.append((["technique=lora"], LoRA()))
    for words, technique in techniques:
        for settings in ways if not words else [{}, *ways]:
            if not settings and not words:
                continue
            told = [f"training.{name}={str(value).lower()}" for name, value in settings.items()]
            other = dataclasses.replace(
                experiment, technique=technique, training=dataclasses.replace(training, **settings)
            )
            yield " ".join([*words, *told]), other
