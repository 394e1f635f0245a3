"""The command line, checked, in Hydra's hands: it makes the run's folder and calls us once a job."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llama_experiments.command_line.composition import SWEEP, Composition
from llama_experiments.command_line.config_files import CONF
from llama_experiments.command_line.hydra_errors import first_lines
from llama_experiments.errors import ConfigError, UserError, tell
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder

# Hydra shows every record from INFO on; these would tell of each request and each retry.
CHATTY = {"httpx": logging.WARNING, "httpx2": logging.WARNING, "urllib3": logging.ERROR}


def launch(arguments: list[str]) -> None:
    """Hand the command line to Hydra, with its errors raised rather than printed."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *arguments]
    refused: list[UserError] = []

    def job(config: DictConfig) -> float:
        return _job(config, refused)

    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(first_lines(error)) from error
    if refused:
        raise refused[0]


def launch_sweep(arguments: list[str], composition: Composition, typed: Sequence[str]) -> int:
    """Hand over a sweep; when its jobs are done, say what they say together, even if some did not end well.

    Args:
        typed: the command line, as the user wrote it.

    Returns:
        The exit status: 1 when a job failed.
    """
    from llama_experiments.config import build
    from llama_experiments.experiment import Experiment
    from llama_experiments.sweeps.finish import finish
    from llama_experiments.sweeps.home import Home, unfinished
    from llama_experiments.sweeps.launch import JobFailed

    folder = composition.folder(SWEEP)
    experiment = build(composition.tree, Experiment, composition.origin)
    output_dir = Path(experiment.output_dir)
    told = any(word.startswith(f"{SWEEP}=") for word in typed)
    other = unfinished(typed, output_dir) if not folder.exists() and not told else None
    if other is not None and experiment.training.resume == "auto":
        print(f"going on with the sweep of this command that was not finished: {show(other)}", flush=True)
        folder = other
    elif other is not None:
        print(f"a sweep of this command was not finished: {SWEEP}={show(other)} goes on with it; this is a new one")
    home = Home(folder, typed, experiment.tracker, output_dir)
    status, state, reason = 0, "finished", ""
    try:
        launch([*arguments, f"{SWEEP}={_quoted(str(folder))}"])  # so that both mean the same moment
    except JobFailed as error:
        status, state, reason = 1, "failed", str(error)
    except UserError:
        if home.discard():
            raise
        finish(home, experiment.sweep, "failed", "")
        raise
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        finish(home, experiment.sweep, "stopped" if stopped else "failed", type(error).__name__)
        if stopped:
            print(f"to go on with the sweep, run the same command with {SWEEP}={show(folder)}", flush=True)
        raise
    finish(home, experiment.sweep, state, reason)
    return status


def _quoted(text: str) -> str:
    """A value as Hydra's command line takes it, whatever it contains."""
    return "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))


def _job(config: DictConfig, refused: list[UserError]) -> float:
    """One run, as Hydra calls it: alone or as a job of a sweep.

    A user's mistake in a single run goes to `refused`; raised, it would make Hydra print a line of its own.
    """
    for library, level in CHATTY.items():
        logging.getLogger(library).setLevel(level)
    from llama_experiments.sweeps.home import job_tags, sweep_of_job

    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    plain = {str(key): value for key, value in tree.items()}
    overrides = list(settings.overrides.task)
    try:
        names = {group: str(choice) for group, choice in settings.runtime.choices.items() if choice}
        composition = Composition.of_job(plain, overrides, names)
        sweep = sweep_of_job(settings.sweep.dir if settings.mode is RunMode.MULTIRUN else None)
        tags = job_tags(sweep, folder) if sweep else {}
        result: float = build_experiment(composition).run(
            folder,
            plain,
            overrides,
            names,
            tags,
            resumes=sweep is not None and RunFolder(folder).epochs.exists(),
            one_of_several=sweep is not None,
        )
        return result
    except UserError as error:
        _remove_if_nothing_ran(folder)
        if settings.mode is not RunMode.MULTIRUN:
            refused.append(error)
            return math.nan
        if settings.runtime.choices["hydra/launcher"] != "llama_experiments":
            # A sweep goes on with its other jobs, and of those that failed other launchers tell only the first.
            tell(error)
        raise


def _remove_if_nothing_ran(folder: Path) -> None:
    """Leave no folder behind for a run that never started: only what Hydra wrote into it is removed."""
    if (folder / "epochs.jsonl").exists():
        return
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty, so not only ours
        folder.rmdir()
        folder.parent.rmdir()


def build_experiment(composition: Composition) -> Any:
    from llama_experiments.config import build, leaves
    from llama_experiments.experiment import Experiment
    from llama_experiments.preflight import problems
    from llama_experiments.secrets import secret_settings

    typed = {override.key_or_group: override.input_line for override in composition.overrides}
    if found := secret_settings(typed | leaves(composition.tree)):
        raise ConfigError([mistake.at(composition.origin(mistake.path)) for mistake in found])
    experiment = build(composition.tree, Experiment, composition.origin)
    if found := problems(experiment):
        raise ConfigError([mistake.at(composition.origin(mistake.path)) for mistake in found])
    return experiment
