"""A command line, composed and checked before Hydra starts anything.

Hydra writes a run's folder before it calls us, and stops at the first key that it does not know. So the same
overrides are composed here first, with unknown keys let through, and every mistake is told in one answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llama_experiments.command_line.config_files import (
    CONF,
    choices_of,
    find_config,
    has_key,
    is_group,
    is_optional,
    show_path,
)
from llama_experiments.command_line.hydra_errors import COMMAND_LINE, first_lines, mistake_of
from llama_experiments.command_line.hydra_settings import refuse_hydra_settings
from llama_experiments.command_line.overrides import (
    chosen,
    first_of_sweep,
    is_discrete,
    let_through,
    parse,
    values_of,
)
from llama_experiments.errors import ConfigError, Mistake, offer

RUN, SWEEP = "hydra.run.dir", "hydra.sweep.dir"


@dataclass(frozen=True)
class Composition:
    """A composed command line, and where each of its settings came from."""

    tree: dict[str, Any]  # the config, resolved, without its hydra node
    overrides: list[Override]
    choices: Mapping[str, str | None]  # group -> chosen file
    roots: list[Path]  # folders with configs, the first that has a file wins
    config: DictConfig | None = None  # as composed, not resolved
    primary: str = "config"  # name of the primary config

    @classmethod
    def of_job(cls, tree: dict[str, Any], overrides: Sequence[str], choices: Mapping[str, Any]) -> Composition:
        """What Hydra composed for a job."""
        return cls(tree, parse(overrides), choices, [CONF])

    def origin(self, path: str) -> str:
        """Where the setting at a dotted path was set: the command line or a YAML file."""
        keys = {override.key_or_group for override in self.overrides}
        # A group's choice on the command line does not set what the chosen file says.
        if path in keys or any(path.startswith(f"{key}.") and not is_group(self.roots, key) for key in keys):
            return COMMAND_LINE
        group = path.partition(".")[0]
        file = self._file_with(path) or find_config(self.roots, group, self.choices.get(group) or "")
        return show_path(file) if file else COMMAND_LINE if group in keys else ""

    def for_hydra(self) -> list[str]:
        """The overrides as Hydra accepts them: it takes `key=value` only for keys that some YAML file writes out,
        while every field of ours can be set."""
        accepted = []
        for override in self.overrides:
            key, line = override.key_or_group, override.input_line or ""
            plain = override.type is OverrideType.CHANGE and not key.startswith("hydra")
            forced = plain and not is_group(self.roots, key) and self._file_with(key) is None
            accepted.append(f"++{line}" if forced else line)
        return accepted

    def folder(self, setting: str) -> Path:
        """Where the run (`hydra.run.dir`) or the sweep (`hydra.sweep.dir`) will be.

        Raises:
            ConfigError: the setting refers to something that does not exist.
        """
        assert self.config is not None
        try:
            return Path(str(OmegaConf.select(self.config, setting, throw_on_missing=True)))
        except OmegaConfBaseException as error:
            raise ConfigError([Mistake(setting, first_lines(error), self.origin(setting))]) from error

    def _file_with(self, path: str) -> Path | None:
        """The YAML file that sets a dotted path: the preset, the primary config or the group's choice."""
        group, _, rest = path.partition(".")
        for folder, key in (("stand_in", path), ("experiment", path), ("", path), (group, rest)):
            name = self.choices.get(folder) if folder else self.primary
            file = find_config(self.roots, folder, name) if name and key else None
            if file is not None and has_key(file, key):
                return file
        return None


def compose_command(
    overrides: Sequence[str], config_dirs: Sequence[Path] = (), primary: Path = CONF, name: str = "config"
) -> Composition:
    """Compose `overrides` on the config `name` of `primary`, with groups from `primary` and `config_dirs`.

    A sweep is composed with the first value of each of its axes; `other_values` gives the rest.

    Raises:
        ConfigError: an unknown choice of a group, or what Hydra itself cannot make sense of.
    """
    roots = [primary, *config_dirs]
    parsed = [_plain_choice(override, roots) for override in parse(overrides)]
    mistakes, kept = [], []
    for override in parsed:
        group = override.key_or_group
        if not is_group(roots, group):
            kept.append(let_through(override))
            continue
        wrong = _wrong_choices(override, roots)
        mistakes += wrong
        if not wrong:
            kept.append(first_of_sweep(override))
    if config_dirs:
        folders = ",".join("'file://{}'".format(str(folder).replace("'", "\\'")) for folder in config_dirs)
        kept.append(f"hydra.searchpath=[{folders}]")
    try:
        with initialize_config_dir(str(primary), version_base="1.3", job_name="llama_experiments"):
            config = compose(name, overrides=kept, return_hydra_config=True)
            if config_dirs:
                ours = [first_of_sweep(override) for override in parsed if _is_ours(override, primary)]
                refuse_hydra_settings(config, compose(name, overrides=ours, return_hydra_config=True))
    except RecursionError as error:
        raise ConfigError([Mistake("", "the defaults of the config files name one another without end")]) from error
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        named = [find_config(roots, o.key_or_group, c) for o in parsed for c in chosen(o)]
        files = [file for file in (*named, find_config(roots, "", name)) if file is not None]
        raise ConfigError([*mistakes, mistake_of(error, roots, files)]) from error
    choices = dict(config.hydra.runtime.choices)
    composition = _resolved(Composition({}, parsed, choices, roots, config, name))
    if mistakes:
        raise ConfigError([*mistakes, *_further_mistakes(composition)])
    return composition


def _is_ours(override: Override, primary: Path) -> bool:
    """Whether an override is about Hydra, as the user has it, or chooses a file of ours."""
    group = override.key_or_group
    if group.startswith("hydra"):
        return True
    return is_group([primary], group) and all(find_config([primary], group, choice) for choice in chosen(override))


def _plain_choice(override: Override, roots: Sequence[Path]) -> Override:
    """A group's override as Hydra takes it.

    People write `+experiment=stories`, and every group is there already; and `tuning=null`, where it wants `~tuning`.
    """
    group = override.key_or_group
    if not is_group(roots, group):
        return override
    null = override.type is not OverrideType.DEL and not override.is_sweep_override() and override.value() is None
    if null and is_optional(group):
        return parse([f"~{group}"])[0]
    return parse([(override.input_line or "").lstrip("+")])[0] if override.is_add() else override


def other_values(composition: Composition, config_dirs: Sequence[Path] = ()) -> Iterator[Composition]:
    """The compositions of a sweep's other values: each value of each axis once, the other axes at their first.

    Raises:
        ConfigError: what Hydra cannot compose.
    """
    for position, override in enumerate(composition.overrides):
        if not is_discrete(override) or override.key_or_group.startswith("hydra"):
            continue
        lines = [other.input_line or "" for other in composition.overrides]
        for value in list(values_of(override))[1:]:
            line = f"{override.get_key_element()}={value}"
            if is_group(composition.roots, override.key_or_group):
                there = [*lines[:position], line, *lines[position + 1 :]]
                yield compose_command(there, config_dirs, composition.roots[0], composition.primary)
            else:  # composing again would take a tenth of a second a value
                config = composition.config.copy()  # type: ignore[union-attr]
                OmegaConf.update(config, override.key_or_group, parse([line])[0].value(), force_add=True)
                yield _resolved(dataclasses.replace(composition, config=config))


def _resolved(composition: Composition) -> Composition:
    """With its tree, free of interpolations.

    Raises:
        ConfigError: each setting that refers to something that does not exist.
    """
    config = composition.config
    assert config is not None
    job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    mistakes, tree = [], {}
    for key in map(str, job):
        try:
            missing = OmegaConf.is_missing(job, key)
            value = "???" if missing else job[key]
            tree[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            path = error.full_key or key
            mistakes.append(Mistake(path, first_lines(error), composition.origin(path)))
    if mistakes:
        raise ConfigError(mistakes)
    return dataclasses.replace(composition, tree=tree)


def _wrong_choices(override: Override, roots: Sequence[Path]) -> list[Mistake]:
    group = override.key_or_group
    known = choices_of(roots, group)
    if not override.is_delete() and not override.is_sweep_override() and override.value() is None:
        sentence = f"null is no choice; {offer('', known, 'the choices')}; ~{group} takes the group away"
        return [Mistake(group, sentence, COMMAND_LINE)]
    return [
        Mistake(group, f"there is no {group} '{choice}'; {offer(choice, known, 'the choices')}", COMMAND_LINE)
        for choice in chosen(override)
        if choice not in known
    ]


def _further_mistakes(composition: Composition) -> list[Mistake]:
    """The mistakes in the rest of a config, in which unknown choices were passed over."""
    from llama_experiments.config import build
    from llama_experiments.experiment import Experiment

    try:
        build(composition.tree, Experiment, composition.origin)
    except ConfigError as error:
        return error.mistakes
    return []
