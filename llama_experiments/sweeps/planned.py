"""A sweep's jobs as they will run: all composed and checked before the first starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from llama_experiments.command_line.composition import Composition
from llama_experiments.errors import ConfigError, Mistake
from llama_experiments.runs.identity import config_hash
from llama_experiments.sweeps.ledger import Entry, Ledger


@dataclasses.dataclass(frozen=True)
class Planned:
    """A job as it will run."""

    overrides: list[str]
    config: DictConfig
    tree: dict[str, Any]  # the config resolved, without its hydra node
    entry: Entry
    done: bool  # in an earlier run of this sweep


def planned_jobs(
    context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], ledger: Ledger
) -> list[Planned]:
    """All jobs, in their order.

    Raises:
        ConfigError: two are the same, or one's config breaks a rule.
    """
    from llama_experiments.command_line.launching import build_experiment
    from llama_experiments.planning.check import memory_mistake

    jobs: dict[str, Planned] = {}
    mistakes: dict[Mistake, None] = {}
    number = ledger.next_number()
    retry = True
    for overrides in map(list, job_overrides):
        composed = context.config_loader.load_sweep_config(config, overrides)
        task = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        plain = OmegaConf.to_container(task, resolve=True)
        assert isinstance(plain, dict)
        tree = {str(key): value for key, value in plain.items()}
        retry = tree["sweep"].get("retry_failed", True)
        job = config_hash(tree)
        known = ledger.entries.get(job)
        mine = known.number if known else number
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = mine
        name = str(composed.hydra.job.override_dirname)
        folder = known.folder if known else str(composed.hydra.sweep.subdir)
        entry = known or Entry(job=job, number=mine, name=short_name(name), folder=folder, state="started")
        with open_dict(composed):
            composed.hydra.sweep.subdir = entry.folder
        if job in jobs:
            sentence = f"job {entry.name or folder} is in the sweep twice; leave one of the equal values out"
            mistakes[Mistake("", sentence, "the command line")] = None
            continue
        ended = known is not None and (known.state == "finished" or (known.state == "failed" and not retry))
        if not ended:
            try:
                experiment = build_experiment(
                    Composition.of_job(tree, overrides, dict(composed.hydra.runtime.choices))
                )
                if (mistake := memory_mistake(experiment)) is not None:
                    mistakes[dataclasses.replace(mistake, path=entry.name or entry.folder)] = None
            except ConfigError as error:
                mistakes |= dict.fromkeys(error.mistakes)
        number += known is None
        jobs[job] = Planned(overrides, composed, tree, entry, ended)
    if mistakes:
        raise ConfigError(list(mistakes))
    return list(jobs.values())


def short_name(name: str) -> str:
    """A job's name as people read it: the swept settings without their groups, `learning_rate=2e-05`."""
    parts = [part.lstrip("+") for part in name.split(",")]
    return ",".join(part.split("=", 1)[0].rpartition(".")[2] + "=" + part.partition("=")[2] for part in parts if part)
