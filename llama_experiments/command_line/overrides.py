"""Hydra's overrides (`key=value`, `+key=value`, `~key`, sweeps of values), read before Hydra reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from llama_experiments.command_line.hydra_errors import COMMAND_LINE, first_lines
from llama_experiments.errors import ConfigError, Mistake

NAMED_BY = "hydra.job.config.override_dirname.exclude_keys"
LONGEST_NAME = 150  # characters; file systems take 255 bytes


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed.

    Raises:
        ConfigError: each that is not one, or is a sweep of no values.
    """
    parser = OverridesParser.create()
    parsed, mistakes = [], []
    for text in overrides:
        try:
            override = parser.parse_override(text)
            if not override.key_or_group:
                raise HydraException("it names no setting")
        except HydraException as error:
            sentence = f"'{text}' is not an override (setting=value): {first_lines(error)}"
            mistakes.append(Mistake("", sentence, COMMAND_LINE))
            continue
        if is_discrete(override) and next(values_of(override), None) is None:
            mistakes.append(Mistake(override.key_or_group, "the sweep has no values", COMMAND_LINE))
        parsed.append(override)
    if mistakes:
        raise ConfigError(mistakes)
    return parsed


def is_discrete(override: Override) -> bool:
    """Whether it is a sweep of values that can be listed here; a glob needs Hydra's own list of a group's choices."""
    return bool(override.is_discrete_sweep()) and "GLOB" not in str(override.value_type)


def values_of(override: Override) -> Iterator[str]:
    """The values of a sweep, as they would be typed."""
    yield from override.sweep_string_iterator()


def chosen(override: Override) -> list[str]:
    """The choices that a group's override names; several in a sweep, none when it takes the group away."""
    if override.is_delete() or override.value() is None:
        return []
    if override.is_sweep_override():
        return list(values_of(override)) if is_discrete(override) else []
    value = override.value()
    return [str(choice).removesuffix(".yaml") for choice in (value if isinstance(value, list) else [value])]


def first_of_sweep(override: Override) -> str:
    """The override, a sweep with the first of its values alone."""
    if not override.is_sweep_override():
        return override.input_line or ""
    return f"{override.get_key_element()}={_first_value(override)}"


def named_by_what_is_swept(overrides: Sequence[Override]) -> list[str]:
    """The override that names a sweep's jobs by the swept settings alone; what all of them share tells none apart."""
    if any(override.key_or_group == NAMED_BY for override in overrides):
        return []
    shared = {override.key_or_group for override in overrides if not override.is_sweep_override()}
    return [f"{NAMED_BY}=[{','.join(repr(key) for key in sorted(shared))}]"]


def file_name(overrides: str) -> str:
    """A job's overrides as one name of a folder: a path among them must not make several."""
    plain = re.sub(r"(^|,)\++", r"\1", overrides)
    return re.sub(r"[^\w.,=+-]+", "_", plain)[:LONGEST_NAME]


OmegaConf.register_new_resolver("file_name", file_name, replace=True)


def let_through(override: Override) -> str:
    """The override as one that Hydra accepts for any key, so that our check can say what is wrong with it."""
    key = override.key_or_group
    if override.is_delete() or key.startswith("hydra") or override.package is not None:
        return override.input_line or ""
    if override.is_sweep_override():
        return f"++{key}={_first_value(override)}"
    return f"++{key}={override.get_value_element_as_str()}"


def _first_value(override: Override) -> str:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):  # other sweepers' than Hydra's own
        return str(sweep.end)
    return next(values_of(override)) if is_discrete(override) else override.get_value_string()
