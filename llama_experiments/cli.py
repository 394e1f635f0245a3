"""The one entrypoint: `python -m llama_experiments [verb] [overrides]`. Every user's mistake becomes a sentence.

Hydra composes and launches; before it starts, the same command line is composed and checked here, so that a
mistake leaves nothing behind. Nothing imported at the top of this module imports torch.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llama_experiments.composition import (
    CONF,
    Composition,
    compose_command,
    explain,
    refuse_unsafe_replay,
)
from llama_experiments.errors import ConfigError, UserError, offer

MISTAKE, INTERRUPTED = 2, 130  # exit statuses
RUN_DIR = "${output_dir}/${now:%Y-%m-%d}/${now:%H-%M-%S}-${hydra.job.name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, 2 for a user's mistake, 130 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except UserError as error:
        _tell(error)
        return MISTAKE
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0] and "~" not in arguments[0]:
        verb, rest = arguments[0], arguments[1:]
        if verb not in VERBS:
            raise UserError(
                f"there is no command '{verb}'; {offer(verb, VERBS, 'commands')}; overrides are written setting=value"
            )
        return VERBS[verb](rest)
    options = get_args_parser().parse_args(arguments)
    replayed = _replay_overrides(options) if options.config_path else []
    if not (options.help or options.hydra_help or options.shell_completion):
        composition = _composition(options)
        arguments = [composition.for_hydra().get(argument, argument) for argument in arguments]
        if not (options.cfg or options.info):
            _check(options, composition)
    _launch([*arguments, *replayed, *_rank_overrides(options)])
    return 0


def _check(options: Namespace, composition: Composition) -> None:
    """Check everything that can be checked before a run's folder is made.

    Raises:
        ConfigError: with all mistakes.
    """
    if options.multirun and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "--multirun cannot be used inside a launcher of processes: when one job fails the processes would lose "
            "each other; start one run a launch"
        )
    experiment = _build(composition)
    from llama_experiments.hub import stay_offline_when_unreachable

    if experiment.dataset.needs_hub or experiment.model.needs_hub:
        stay_offline_when_unreachable()


def _composition(options: Namespace) -> Composition:
    config_dirs = []
    if options.config_dir:
        folder = Path(options.config_dir).absolute()
        if not folder.is_dir():
            raise UserError(f"--config-dir: there is no folder {options.config_dir}")
        config_dirs.append(folder)
    primary = Path(options.config_path).absolute() if options.config_path else CONF
    return compose_command(options.overrides, config_dirs, primary, options.config_name or "config")


def _build(composition: Composition) -> Any:
    from llama_experiments.config import build
    from llama_experiments.experiment import Experiment

    experiment = build(composition.tree, Experiment, composition.origin)
    problems = experiment.problems()
    if problems:
        raise ConfigError([problem.at(composition.origin(problem.path)) for problem in problems])
    return experiment


def _replay_overrides(options: Namespace) -> list[str]:
    """A saved config has no `hydra` node: give the replay a folder and a name like any run's."""
    folder = Path(options.config_path)
    refuse_unsafe_replay(folder, options.config_name or "config")
    name = "replay"
    with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        choices = yaml.safe_load((folder / "hydra.yaml").read_text(encoding="utf-8"))["hydra"]["runtime"]["choices"]
        words = [str(choices[group]) for group in ("task", "model", "technique")]
        if all(word.replace("_", "").replace("-", "").isalnum() for word in words):
            name = "-".join(words)
    given = {override.split("=", 1)[0] for override in options.overrides}
    wanted = {"hydra.job.name": name, "hydra.run.dir": RUN_DIR, "hydra/job_logging": "none"}
    return [f"{key}={value}" for key, value in wanted.items() if key not in given]


def _rank_overrides(options: Namespace) -> list[str]:
    """Under a launcher all processes share the first one's folder, and only the first writes Hydra's files."""
    processes, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if processes == 1:
        return []
    stamp = _shared_stamp(rank)
    overrides = [f"hydra.run.dir={RUN_DIR.replace('${now:%Y-%m-%d}/${now:%H-%M-%S}', stamp)}"]
    if any(override.startswith("hydra.run.dir=") for override in options.overrides):
        overrides = []
    if rank > 0:
        overrides += ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    return overrides


def _shared_stamp(rank: int) -> str:
    """The first process's `date/time`, through the launcher's own store."""
    from datetime import datetime, timedelta

    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60))
    key = f"llama_experiments/stamp/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if rank == 0:
        store.set(key, datetime.now().strftime("%Y-%m-%d/%H-%M-%S"))
    return str(store.get(key).decode())


def _launch(arguments: list[str]) -> None:
    """Hand the command line to Hydra, with its errors raised rather than printed."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *arguments]
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(_job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except OSError as error:
        if error.filename and "outputs" in str(error.filename):
            raise UserError(f"output_dir: {error.filename} cannot be written: {error.strerror}") from error
        raise


def _job(config: DictConfig) -> float:
    """One run, as Hydra calls it: alone or as a job of a sweep."""
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    plain = {str(key): value for key, value in tree.items()}
    overrides = list(settings.overrides.task)
    try:
        names = {group: str(choice) for group, choice in settings.runtime.choices.items() if choice}
        composition = Composition.of_job(plain, overrides, names)
        result: float = _build(composition).run(folder, plain, overrides, names)
        return result
    except UserError as error:
        _remove_if_nothing_ran(folder)
        if settings.mode is RunMode.MULTIRUN:
            # A sweep goes on with its other jobs, and Hydra tells only of the first that failed.
            _tell(error)
        raise


def _remove_if_nothing_ran(folder: Path) -> None:
    """Leave no folder behind for a run that never started: only what Hydra wrote into it is removed."""
    if (folder / "epochs.jsonl").exists():
        return
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty, so not only ours
        folder.rmdir()
        folder.parent.rmdir()


def _ui(arguments: list[str]) -> int:
    """`ui [port=5000] [overrides]`: MLflow's page on the recorded runs."""
    from llama_experiments.runs.ui import serve

    port = 5000
    overrides = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "port":
            if not value.isdigit() or not 0 < int(value) < 65536:
                raise UserError(f"port: must be a number from 1 to 65535, not '{value}'")
            port = int(value)
        else:
            overrides.append(argument)
    experiment = _build(compose_command(overrides, [], CONF))
    return serve(experiment.tracker.resolved_uri(Path(experiment.output_dir)), port)


def _tell(error: UserError) -> None:
    if not getattr(error, "told", False):
        print(error, file=sys.stderr, flush=True)
        error.told = True  # type: ignore[attr-defined]


VERBS: dict[str, Callable[[list[str]], int]] = {"ui": _ui}
