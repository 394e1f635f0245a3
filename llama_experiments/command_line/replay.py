"""A saved config, run again (`--config-path RUN/.hydra`): read as plain YAML before Hydra may act on it."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llama_experiments.command_line.config_files import show_path
from llama_experiments.command_line.hydra_errors import first_lines
from llama_experiments.errors import ConfigError, Mistake, UserError

RUN_DIR = "${output_dir}/${now:%Y-%m-%d}/${now:%H-%M-%S}-${hydra.job.name}"
# What a saved config may contain besides values: ${key}, and the clock.
HARMLESS = re.compile(r"\$\{\s*(now:[^${}]*|[\w.\[\]-]+)\s*\}")
LARGEST = 1 << 18  # bytes of a saved config; ours are of 2,000
DEEPEST = 50  # brackets and dashes in one another: a thousand keep the parser busy for minutes


def replay_overrides(folder: Path, name: str, overrides: Sequence[str]) -> list[str]:
    """A saved config has no `hydra` node: give the replay a folder and a name like any run's.

    Raises:
        UserError: the config could run or read more than settings, or write elsewhere.
    """
    tree = refuse_unsafe_replay(folder, name)
    job = "replay"
    with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError, RecursionError):
        choices = yaml.safe_load((folder / "hydra.yaml").read_text(encoding="utf-8"))["hydra"]["runtime"]["choices"]
        words = [str(choices[group]) for group in ("task", "model", "technique")]
        if all(re.fullmatch(r"[\w-]+", word) for word in words):
            job = "-".join(words)
    given = {override.split("=", 1)[0].lstrip("+") for override in overrides}
    _refuse_other_places(tree, folder, given)
    wanted = {"hydra.job.name": job, "hydra.run.dir": RUN_DIR, "hydra/job_logging": "none"}
    return [f"{key}={value}" for key, value in wanted.items() if key not in given]


def refuse_unsafe_replay(folder: Path, name: str = "config") -> dict[str, Any]:
    """The saved config as a plain tree; refused where it would run or read more than settings.

    Hydra would run a `hydra` node's callbacks, and resolve `${oc.env:...}`, before any check of ours.

    Raises:
        UserError: no config there, not YAML, a `hydra` node, files of groups beside it, or a resolver that reaches
            beyond the config.
    """
    file = folder / f"{name.removesuffix('.yaml')}.yaml"
    if not file.is_file():
        raise UserError(f"--config-path: there is no file {show_path(file)}; give the .hydra folder of a run")
    text, tree = _read(file)
    # A package header would move the settings below another node, `hydra` among them.
    header = "@package" if re.search(r"^\s*#\s*@package", text, re.MULTILINE) else None
    key = next((key for key in ("hydra", "defaults") if key in tree), header)
    if key is not None:
        raise UserError(
            f"{show_path(file)} has a '{key}' node, which a config to be replayed must not have: Hydra would run "
            "what it names before it could be checked; remove it, or use --config-dir for groups of your own"
        )
    for value in _texts(tree):
        if "${" in HARMLESS.sub("", value):
            raise UserError(
                f"{show_path(file)} uses a resolver, '{value[:60]}', which a config to be replayed must not: it "
                "reaches beyond the config; write the value itself"
            )
    # Hydra looks here for groups before it looks among some of its own.
    group = next((path for path in sorted(folder.iterdir()) if path.is_dir() and _has_config(path)), None)
    if group is not None:
        raise UserError(
            f"{show_path(group)} has configs, which the folder of a config to be replayed must not: Hydra would take "
            "them for its own; remove them, or use --config-dir for groups of your own"
        )
    return tree


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """A config's text, and what it says."""
    if file.stat().st_size > LARGEST:
        raise UserError(f"{show_path(file)} is no run's config: it is larger than {LARGEST:,} bytes")
    try:
        text = file.read_text(encoding="utf-8")
        if _depth(text) > DEEPEST:
            raise UserError(f"{show_path(file)} is not YAML of a run: it is nested deeper than {DEEPEST} levels")
        # A few lines of aliases of aliases are a tree without end to whoever walks it; a saved config has none.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
            raise UserError(f"{show_path(file)} has an alias (*name), which no run's config has; write the value out")
        tree = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{show_path(file)}: line {line} is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or no date or number
        raise UserError(f"{show_path(file)} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{show_path(file)} is not a config: it holds no settings")
    return text, tree


def _depth(text: str) -> int:
    """At most how deep a YAML text is nested, found without parsing it: by brackets, and by dashes in a line."""
    steps = itertools.accumulate((sign in "[{") - (sign in "]}") for sign in text if sign in "[]{}")
    dashes = (len(found[0].split()) for found in re.finditer(r"(?:[-?:]\s+){2,}", text))
    return max(max(steps, default=0), max(dashes, default=0))


def _refuse_other_places(tree: dict[str, Any], folder: Path, given: set[str]) -> None:
    """A config that somebody sent may not say where on this machine, or to which server, a run is written.

    A folder is as good as said by the user when it is below the working folder, or when the run itself lies in it.

    Raises:
        ConfigError: naming the settings that the command line has to say.
    """
    told = show_path(folder / "config.yaml")
    try:
        settings = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{told}: {first_lines(error)}") from error
    assert isinstance(settings, dict)
    mistakes = []
    output_dir = str(settings.get("output_dir", "outputs"))
    if "output_dir" not in given and not _is_near(output_dir, folder):
        sentence = f"writes to {output_dir}, outside this folder; say so yourself: output_dir={output_dir}"
        mistakes.append(Mistake("output_dir", sentence, told))
    tracker = settings.get("tracker")
    uri = tracker.get("uri") if isinstance(tracker, dict) else None
    if uri is not None and "tracker.uri" not in given:
        file = str(uri).removeprefix("sqlite:///")
        if "?" in file or file == uri or not _is_near(str(Path(file).parent), folder):
            sentence = "records the run there, with what the environment has to log in by; say so yourself"
            mistakes.append(Mistake("tracker.uri", f"{sentence}: tracker.uri={uri}, or tracker.uri=null", told))
    if mistakes:
        raise ConfigError(mistakes)


def _is_near(place: str, folder: Path) -> bool:
    """Whether a place is below the working folder, or is the output folder that the run's folder lies in."""
    where, run = Path(place).expanduser().resolve(), folder.resolve().parent
    if where.is_relative_to(Path.cwd().resolve()):
        return True
    return run.is_relative_to(where) and re.match(r"\d{4}-\d\d-\d\d/", f"{run.relative_to(where)}") is not None


def _has_config(folder: Path) -> bool:
    return next(folder.rglob("*.yaml"), None) is not None


def _texts(node: Any) -> Iterator[str]:
    """All texts of a YAML tree as parsed, so that no way of writing hides one."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
