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
        most = upper_bound(shape, experiment)
    except (UserError, ValueError, TypeError):  # the latter of a config.json with words for numbers
        return None  # the run itself says what keeps it from the model
    available = share_of(available_memory(), experiment)
    if most <= SURELY * available.size:
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
    if needed.processes * (needed.libraries + needed.weights) > available.size:
        advice = "the weights alone do not fit: take a smaller model or a larger machine"
    else:
        advice = _ways_out(experiment, shape, task, lengths, available)
    return Mistake("", f"{told}; {advice}; training.check_memory=false tries it all the same")


def _ways_out(
    experiment: Experiment, shape: Mapping[str, Any], task: Task, lengths: Lengths, available: Available
) -> str:
    """What would be enough, tried one after another; none that only adds to one that is."""
    from llama_experiments.planning.memory import estimate_memory

    enough: dict[str, int] = {}
    tried: dict[str, int] = {}
    for words, other in _lighter(experiment):
        if any(set(way.split()) <= set(words.split()) for way in enough):
            continue
        memory = estimate_memory(other, shape, task, lengths, available.kind)
        if memory.peak > available.size and memory.evaluation > memory.gradients + memory.activations:
            words += " training.evaluation_batch_size=1"
            training = dataclasses.replace(other.training, evaluation_batch_size=1)
            other = dataclasses.replace(other, training=training)
            memory = estimate_memory(other, shape, task, lengths, available.kind)
        tried[words] = memory.peak
        if memory.peak <= available.size:
            enough[words] = memory.peak
        if len(enough) == OFFERED:
            break
    if enough:
        return "it would fit with " + " or with ".join(f"{way} (about {gigabytes(enough[way])})" for way in enough)
    least = min(tried, key=tried.__getitem__, default=None)
    told = "" if least is None else f": the least is {gigabytes(tried[least])}, with {least}"
    return f"no setting makes it small enough{told}; take a smaller model or a larger machine"


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

    training, technique = experiment.training, experiment.technique
    small = {"micro_batch_size": 1} if technique.trains and training.micro_batch_size != 1 else {}
    checkpointing = (
        {"gradient_checkpointing": True} if technique.trains and not training.gradient_checkpointing else {}
    )
    narrow = {"precision": "bf16"} if training.precision in ("auto", "fp32") else {}
    ways: list[dict[str, Any]] = [small, checkpointing, small | checkpointing, small | checkpointing | narrow]
    choices: list[tuple[list[str], Technique]] = [([], technique)]
    if type(technique) is Technique:
        choices.append((["technique=lora"], LoRA()))
    for words, chosen in choices:
        for settings in [{}, *ways]:
            told = [*words, *(f"training.{name}={str(value).lower()}" for name, value in settings.items())]
            if told:
                changed = dataclasses.replace(training, **settings)
                yield " ".join(told), dataclasses.replace(experiment, technique=chosen, training=changed)
