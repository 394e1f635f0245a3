"""A command line, composed and checked before Hydra starts anything.

Hydra writes a run's folder before it calls us, and stops at the first key that it does not know. So the same
overrides are composed here first, with unknown keys let through, and every mistake is told in one answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llama_experiments.errors import ConfigError, Mistake, UserError, offer
from llama_experiments.paths import show

PACKAGE = Path(__file__).parent
# In a wheel conf/ lies inside the package, in a checkout beside it.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

COMMAND_LINE = "set on the command line"
# The only resolver a config that is replayed may use besides plain ${key}: it reads the clock, nothing else.
HARMLESS_RESOLVERS = {"now"}


@dataclass(frozen=True)
class Composition:
    """A composed command line, and where each of its settings came from."""

    tree: dict[str, Any]  # the config, resolved, without its hydra node
    overrides: list[Override]
    choices: Mapping[str, str | None]  # group -> chosen file
    roots: list[Path]  # folders with configs, the first that has a file wins

    @classmethod
    def of_job(cls, tree: dict[str, Any], overrides: Sequence[str], choices: Mapping[str, Any]) -> Composition:
        """What Hydra composed for a job."""
        return cls(tree, _parse(overrides), choices, [CONF])

    def origin(self, path: str) -> str:
        """Where the setting at a dotted path was set: the command line or a YAML file."""
        for override in self.overrides:
            key = override.key_or_group
            if path == key or path.startswith(f"{key}."):
                return COMMAND_LINE
        group = path.partition(".")[0]
        file = self._file_with(path) or find_config(self.roots, group, self.choices.get(group) or "")
        return show_path(file) if file else ""

    def for_hydra(self) -> dict[str, str]:
        """Overrides as Hydra accepts them: it takes `key=value` only for keys that some YAML file writes out, while
        every field of ours can be set."""
        forced = {}
        for override in self.overrides:
            key, line = override.key_or_group, override.input_line or ""
            plain = override.type is OverrideType.CHANGE and not key.startswith("hydra")
            if plain and not _is_group(self.roots, key) and self._file_with(key) is None:
                forced[line] = f"++{line}"
        return forced

    def _file_with(self, path: str) -> Path | None:
        """The YAML file that sets a dotted path: the preset, the primary config or the group's choice."""
        group, _, rest = path.partition(".")
        for folder, key in (("experiment", path), ("", path), (group, rest)):
            name = self.choices.get(folder) if folder else "config"
            file = find_config(self.roots, folder, name) if name and key else None
            if file is not None and _has_key(file, key):
                return file
        return None


def compose_command(
    overrides: Sequence[str], config_dirs: Sequence[Path], primary: Path = CONF, name: str = "config"
) -> Composition:
    """Compose `overrides` on the config `name` of `primary`, with groups from `primary` and `config_dirs`.

    Raises:
        ConfigError: an unknown choice of a group, or what Hydra itself cannot make sense of.
    """
    roots = [primary, *config_dirs]
    parsed = _parse(overrides)
    mistakes, kept = [], []
    for override in parsed:
        group = override.key_or_group
        if not _is_group(roots, group):
            # A sweep is checked by each axis's first value here; `-m` runs the others through the same check.
            kept.append(_let_through(override))
            continue
        known = _choices_of(roots, group)
        unknown = [choice for choice in _chosen(override) if choice not in known]
        for choice in unknown:
            sentence = f"there is no {group} '{choice}'; {offer(choice, known, 'the choices')}"
            mistakes.append(Mistake(group, sentence, COMMAND_LINE))
        if not unknown:
            kept.append(_first_of_sweep(override))
    search_path = (
        [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in config_dirs)}]"] if config_dirs else []
    )
    try:
        with initialize_config_dir(str(primary), version_base="1.3", job_name="llama_experiments"):
            config = compose(name, overrides=[*kept, *search_path], return_hydra_config=True)
        choices = dict(config.hydra.runtime.choices)
        job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        tree = OmegaConf.to_container(job, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([*mistakes, Mistake("", explain(error))]) from error
    assert isinstance(tree, dict)
    composition = Composition({str(k): v for k, v in tree.items()}, parsed, choices, roots)
    if mistakes:
        raise ConfigError([*mistakes, *_further_mistakes(composition)])
    return composition


def _further_mistakes(composition: Composition) -> list[Mistake]:
    """What else is wrong beside an unknown choice, with the default in its place."""
    from llama_experiments.config import build
    from llama_experiments.experiment import Experiment

    try:
        build(composition.tree, Experiment, composition.origin)
    except ConfigError as error:
        return error.mistakes
    return []


def refuse_unsafe_replay(folder: Path, name: str = "config") -> None:
    """Read a config that is to be replayed as plain YAML and refuse what would run or read more than settings.

    Hydra would run a `hydra` node's callbacks, and resolve `${oc.env:...}`, before any check of ours.

    Raises:
        UserError: no config there, not YAML, a `hydra` node, or a resolver that reaches beyond the config.
    """
    file = folder / f"{name}.yaml"
    if not file.is_file():
        raise UserError(f"--config-path: no file {show_path(file)}; give the .hydra folder of a run")
    try:
        text = file.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{show_path(file)} is not YAML: {one_line(error)}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{show_path(file)} is not a config: it holds no settings")
    if "hydra" in tree or "defaults" in tree:
        key = "hydra" if "hydra" in tree else "defaults"
        raise UserError(
            f"{show_path(file)} has a '{key}' node, which a config to be replayed must not have: Hydra would run "
            "what it names before it could be checked; remove it, or use --config-dir for groups of your own"
        )
    for resolver in re.findall(r"\$\{\s*([\w.]+)\s*:", text):
        if resolver not in HARMLESS_RESOLVERS:
            raise UserError(
                f"{show_path(file)} uses the resolver '{resolver}', which a config to be replayed must not: it "
                "reaches beyond the config; write the value itself"
            )


def find_config(roots: Sequence[Path], group: str, name: str) -> Path | None:
    """The file of a group's choice (of the primary config for the group ""), in the first root that has it."""
    for root in roots:
        file = root / group / f"{name.removesuffix('.yaml')}.yaml"
        if name and file.is_file():
            return file
    return None


def show_path(path: Path) -> str:
    """A config file as people know it: `conf/...` wherever the package lies."""
    if path.is_relative_to(CONF):
        return str(Path("conf") / path.relative_to(CONF))
    return show(path)


def one_line(error: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def explain(error: BaseException) -> str:
    """What Hydra or OmegaConf could not make sense of, without its advice to force a key in with '+'."""
    messages: list[str] = []
    current: BaseException | None = error
    while current is not None:
        message = str(current).strip().split("\n")[0]
        if message and message not in messages:
            messages.append(message)
        current = current.__cause__
    return ": ".join(messages[:2])


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed, mistakes = [], []
    for text in overrides:
        try:
            parsed.append(OverridesParser.create().parse_override(text))
        except HydraException as error:
            mistakes.append(
                Mistake("", f"'{text}' is not an override (setting=value): {explain(error)}", COMMAND_LINE)
            )
    if mistakes:
        raise ConfigError(mistakes)
    return parsed


def _chosen(override: Override) -> list[str]:
    """The choices that a group's override names; several in a sweep, none when it takes the group away."""
    if override.is_delete() or override.value() is None:
        return []
    if override.is_sweep_override():
        return [str(choice) for choice in override.sweep_string_iterator()]
    return [str(override.value()).removesuffix(".yaml")]


def _first_of_sweep(override: Override) -> str:
    if override.is_sweep_override():
        return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
    return override.input_line or ""


def _let_through(override: Override) -> str:
    """The override as one that Hydra accepts for any key, so that our check can say what is wrong with it."""
    key = override.key_or_group
    if override.is_delete() or key.startswith("hydra") or "@" in (override.input_line or ""):
        return override.input_line or ""
    if override.is_sweep_override():
        return f"++{key}={next(iter(override.sweep_string_iterator()))}"
    return f"++{key}={override.get_value_element_as_str()}"


def _is_group(roots: Sequence[Path], key: str) -> bool:
    return any((root / key).is_dir() for root in roots) and not key.startswith("hydra")


def _choices_of(roots: Sequence[Path], group: str) -> set[str]:
    files = (file for root in roots for file in (root / group).glob("**/*.yaml"))
    return {str(file.relative_to(file.parents[0])).removesuffix(".yaml") for file in files}


def _has_key(file: Path, path: str) -> bool:
    """Whether a YAML file itself sets the dotted path (or the node it lies under)."""
    try:
        node = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True
