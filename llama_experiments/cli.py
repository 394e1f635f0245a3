"""The one entrypoint: `python -m llama_experiments [verb] [overrides]`. Every user's mistake becomes a sentence.

Hydra composes and launches; before it starts, the same command line is composed and checked here, so that a
mistake leaves nothing behind. Nothing imported at the top of this module imports torch.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from llama_experiments.command_line.composition import RUN, SWEEP, Composition, compose_command, other_values
from llama_experiments.command_line.config_files import CONF
from llama_experiments.command_line.launchers import check_processes
from llama_experiments.command_line.launching import build_experiment, launch, launch_sweep
from llama_experiments.command_line.overrides import named_by_what_is_swept
from llama_experiments.command_line.processes import (
    first_process_tells,
    is_first,
    leave_word,
    rank_overrides,
    run_in_processes,
    started,
    word_left,
)
from llama_experiments.command_line.replay import replay_overrides
from llama_experiments.command_line.resuming import resume, unfinished_run
from llama_experiments.disk import disk_error
from llama_experiments.errors import ConfigError, Mistake, UserError, lost_process, offer, tell
from llama_experiments.paths import not_writable, show
from llama_experiments.plugins import OPTION, named_on
from llama_experiments.runs.saved import SavedRun, find_run
from llama_experiments.secrets import print_hidden
from llama_experiments.training.stopping import Stopped
from llama_experiments.verbs import run_verb, verbs

MISTAKE, INTERRUPTED, CLOSED = 2, 130, 141  # exit statuses; the last two as a shell tells SIGINT and SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, 2 for a user's mistake, 128 plus a signal's number."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.excepthook = print_hidden
    try:
        with named_on(arguments) as rest:
            return run_arguments(rest)
    except UserError as error:
        if is_first():
            tell(error)
        else:
            leave_word(str(error))
        return MISTAKE
    except Stopped as stopped:
        return stopped.status
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except Exception as error:
        if (told := disk_error(error)) is not None:
            tell(told)
            return MISTAKE
        if started() == 1 or (sentence := lost_process(error)) is None:
            raise
        if is_first():
            tell(UserError(word_left() or sentence))
        return 1


def run_arguments(arguments: list[str]) -> int:
    """A verb's, or a run's; mistakes are raised."""
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0] and "~" not in arguments[0]:
        verb, rest = arguments[0], arguments[1:]
        if verb not in (known := verbs()):
            raise UserError(
                f"there is no command '{verb}'; {offer(verb, known, 'commands')}; overrides are written setting=value"
            )
        return run_verb(verb, rest)
    options = parse_options(arguments)
    switches = [argument for argument in arguments if argument not in options.overrides]
    if options.help or options.hydra_help or options.shell_completion:
        launch(arguments)
        return 0
    looks = options.cfg or options.info
    composition = composed(options, switches)
    if not looks and not options.multirun and (unfinished := _to_resume(composition)) is not None:
        return resume(unfinished)
    if not looks:
        check(options, composition)
    names = named_by_what_is_swept(composition.overrides) if options.multirun else []
    command = [*switches, *composition.for_hydra(), *names, *rank_overrides(options.overrides)]
    if options.multirun and not looks:
        return launch_sweep(command, composition, arguments)
    if not looks:
        processes = composition.tree.get("training", {}).get("processes") or 1
        if processes > 1 and started() == 1:
            return run_in_processes(processes, arguments)
    launch(command)
    return 0


def composed(options: Namespace, switches: list[str]) -> Composition:
    """What the options say, with a preset's axes and a saved config among them; Hydra is told by `switches`."""
    if options.config_path:
        folder, name = Path(options.config_path), options.config_name or "config"
        options.overrides += replay_overrides(folder, name, options.overrides)
        switches += ["--config-path", str(folder.absolute())]  # a relative one would be the package's to Hydra
    composition = _composition(options)
    looks = options.cfg or options.info
    axes = None if looks or options.config_path else _axes(composition)  # a replay is one job of a sweep
    if axes is None:
        return composition
    options.overrides += axes
    options.multirun = True
    switches.append("--multirun")
    return _composition(options)


def _to_resume(composition: Composition) -> SavedRun | None:
    """The run that this command has begun before, where it is to go on with it."""
    tree = composition.tree
    if tree.get("training", {}).get("resume") != "auto":
        return None
    found = first_process_tells(lambda: _folder_to_resume(composition))
    return find_run(found) if found else None


def _folder_to_resume(composition: Composition) -> str:
    found = unfinished_run(composition.tree, composition.folder(RUN))
    return str(found.folder.path) if found else ""


def _axes(composition: Composition) -> list[str] | None:
    """What a preset of several runs sweeps over, where the command line does not say otherwise; None of one run."""
    from llama_experiments.config import build
    from llama_experiments.sweeps.base import Sweep

    if not composition.tree.get("sweep"):
        return None
    sweep = build(composition.tree["sweep"], Sweep, composition.origin, "sweep")
    if not sweep.axes:
        return None
    given = {override.key_or_group for override in composition.overrides}
    return [f"{key}={values}" for key, values in sweep.axes.items() if key not in given]


def parse_options(arguments: list[str]) -> Namespace:
    """Hydra's options and the overrides, in any order.

    Raises:
        UserError: an option that Hydra does not have.
    """
    parser = get_args_parser()
    known = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    known.add(OPTION)

    def refuse(message: str) -> NoReturn:
        word = next((a for a in arguments if a.startswith("--") and a.split("=")[0] not in known), "")
        raise UserError(f"{message}; {offer(word, known, 'options')}" if word else message)

    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_intermixed_args(arguments)
    if options.experimental_rerun:
        raise UserError("--experimental-rerun unpickles a file, which can run code; use --config-path RUN/.hydra")
    return options


def check(options: Namespace, composition: Composition, memory: bool = True) -> None:
    """Check everything that can be checked before a run's folder is made; of a sweep our launcher checks the memory.

    Raises:
        ConfigError: with all mistakes.
    """
    sweeps = options.multirun or any(override.key_or_group == "hydra.mode" for override in composition.overrides)
    if sweeps and started() > 1:
        raise UserError(
            "--multirun cannot be used inside a launcher of processes: when one job fails the processes would lose "
            "each other; start one run a launch"
        )
    if not sweeps and (several := [o for o in composition.overrides if o.is_sweep_override()]):
        sentence = "several values are a sweep, which needs -m (a text with commas needs quotes: 'a,b')"
        raise ConfigError([Mistake(o.key_or_group, sentence, composition.origin(o.key_or_group)) for o in several])
    experiment = build_experiment(composition)
    check_processes(experiment.training)
    if sweeps:
        _check_other_values(options, composition)
    if is_first():
        _check_folder(composition, SWEEP if sweeps else RUN)
    from llama_experiments.hub import stay_offline_when_unreachable
    from llama_experiments.planning.check import memory_mistake
    from llama_experiments.preflight import not_downloaded

    needs_hub = experiment.dataset.needs_hub or experiment.model.needs_hub
    if needs_hub and not stay_offline_when_unreachable() and (missing := not_downloaded(experiment)):
        raise ConfigError([mistake.at(composition.origin(mistake.path)) for mistake in missing])
    if memory and is_first() and not sweeps and (mistake := memory_mistake(experiment)) is not None:
        raise ConfigError([mistake])


def _check_other_values(options: Namespace, composition: Composition) -> None:
    """Every value of a sweep, before its first job: a night's sweep does not end at its last value's typo."""
    mistakes: dict[Mistake, None] = {}
    for job in other_values(composition, config_dirs(options)):
        try:
            build_experiment(job)
        except ConfigError as error:
            mistakes |= dict.fromkeys(error.mistakes)
    if mistakes:
        raise ConfigError(list(mistakes))


def _check_folder(composition: Composition, setting: str) -> None:
    """Hydra writes into a run's folder before it calls us: never into another run's.

    Raises:
        ConfigError: the folder has a run already, or cannot be made.
    """
    folder = composition.folder(setting)
    goes_on = setting == SWEEP and (folder / "sweep.json").exists()
    if not goes_on and any(next(folder.glob(pattern), None) for pattern in ("epochs.jsonl", "*/epochs.jsonl")):
        sentence = f"{show(folder)} belongs to another run already; give this one its own with {setting}=..."
    else:
        sentence = not_writable(folder) or ""
    if sentence:
        raise ConfigError([Mistake(setting, sentence, composition.origin(setting))])


def _composition(options: Namespace) -> Composition:
    primary = Path(options.config_path).absolute() if options.config_path else CONF
    return compose_command(options.overrides, config_dirs(options), primary, options.config_name or "config")


def config_dirs(options: Namespace) -> list[Path]:
    if not options.config_dir:
        return []
    folder = Path(options.config_dir).absolute()
    if not folder.is_dir():
        raise UserError(f"--config-dir: there is no folder {options.config_dir}")
    return [folder]
