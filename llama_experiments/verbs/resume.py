"""resume RUN: go on with a run that was stopped, killed or failed, from its newest whole checkpoint, to the bit.

RUN is a run's folder or its id in MLflow. The run goes on in the same folder and the same MLflow run, as if it had
never been interrupted. What changes none of its mathematics may be given anew: training.processes,
training.sharding, training.micro_batch_size, training.evaluation_batch_size, training.checkpoint,
training.out_of_memory, tracker.

    python -m llama_experiments resume outputs/2026-11-25/01-53-31-sentiment-embedded-full
"""

from __future__ import annotations

from llama_experiments.errors import UserError


def run(arguments: list[str]) -> int:
    """Go on with it."""
    from llama_experiments.command_line.resuming import resume
    from llama_experiments.runs.saved import find_run

    named = [word for word in arguments if "=" not in word and not word.startswith("~")]
    overrides = [word for word in arguments if word not in named]
    if len(named) != 1:
        raise UserError("resume takes one run, and after it overrides written setting=value")
    uri = next((word.partition("=")[2] for word in overrides if word.startswith("tracker.uri=")), None)
    return resume(find_run(named[0], uri), overrides)
