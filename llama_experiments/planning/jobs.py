"""A command line's jobs, all composed and checked, and none started."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.command_line.composition import Composition, compose_command
from llama_experiments.command_line.config_files import CONF
from llama_experiments.command_line.launching import build_experiment
from llama_experiments.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from llama_experiments.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of the command line."""

    name: str  # by what differs; empty where there is one
    experiment: Experiment
    composition: Composition


def jobs_of(composition: Composition, sweeps: bool, config_dirs: Sequence[Path], primary: Path | None) -> list[Job]:
    """The jobs of a composed command line, as the sweeper would hand them to the launcher.

    Raises:
        ConfigError: the mistakes of all jobs together, or two jobs that are the same.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    from llama_experiments.runs.identity import config_hash

    if not sweeps:
        return [Job("", build_experiment(composition), composition)]
    found: dict[str, Job] = {}
    mistakes: dict[Mistake, None] = {}
    (batch,) = BasicSweeper.split_arguments(composition.overrides, None)
    swept = {o.key_or_group for o in composition.overrides if o.is_sweep_override()}
    for overrides in batch:
        name = ",".join(
            f"{key.rpartition('.')[2]}={value}"
            for key, _, value in (line.lstrip("+").partition("=") for line in overrides)
            if key in swept
        )
        try:
            job = compose_command(overrides, config_dirs, primary or CONF, composition.primary)
            key = config_hash(job.tree)
            if key in found:
                sentence = f"job {name} is in the sweep twice; leave one of the equal values out"
                mistakes[Mistake("", sentence, "the command line")] = None
            found[key] = Job(name, build_experiment(job), job)
        except ConfigError as error:
            mistakes |= dict.fromkeys(error.mistakes)
    if mistakes:
        raise ConfigError(list(mistakes))
    return list(found.values())
