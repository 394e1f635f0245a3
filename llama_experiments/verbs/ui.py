"""ui [port=5000] [overrides]: MLflow's page on the recorded runs, on this machine only.

python -m llama_experiments ui
python -m llama_experiments ui port=5001 output_dir=elsewhere
"""

from __future__ import annotations

from pathlib import Path

from llama_experiments.errors import UserError
from llama_experiments.paths import not_writable


def run(arguments: list[str]) -> int:
    """Become the page's server."""
    from llama_experiments.command_line.composition import compose_command
    from llama_experiments.config import build
    from llama_experiments.experiment import Experiment
    from llama_experiments.runs.ui import serve

    port = 5000
    overrides = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "port":
            if not value.isdecimal() or not 0 < int(value) < 65536:
                raise UserError(f"port: must be a number from 1 to 65535, not '{value}'")
            port = int(value)
        else:
            overrides.append(argument)
    composition = compose_command(overrides)
    experiment = build(composition.tree, Experiment, composition.origin)  # no model or data need be there to look
    if (unusable := not_writable(Path(experiment.output_dir))) is not None:
        raise UserError(f"output_dir: {unusable}")
    tracker = experiment.tracker
    serve(tracker.resolved_uri(Path(experiment.output_dir)), tracker.experiment, port)
