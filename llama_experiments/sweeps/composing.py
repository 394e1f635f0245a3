"""The configs of a sweep's jobs, composed quickly: those that differ in plain values alone are copies of one."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Hashable, Sequence
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

PLAIN = (int, float, bool, str)


class QuickLoader:
    """Hydra's loader of configs, which alone would read and merge all files anew for each job, and does so twice.

    Jobs that choose the same of every group and differ in plain values are composed once: each is a copy with its
    own values in it. All others are Hydra's to compose.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._composed: dict[Hashable, DictConfig] = {}
        self._groups: dict[str, bool] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of a job, from the sweep's."""
        parsed = self._parser.parse_overrides(sweep_overrides)
        plain = [self._is_plain(override) for override in parsed]
        if self._overlap(parsed):
            return self._loader.load_sweep_config(master_config, sweep_overrides)
        kind = tuple(
            (one.get_key_element(),) if by_value else one.input_line
            for one, by_value in zip(parsed, plain, strict=True)
        )
        key = (master_config.hydra.job.config_name, *master_config.hydra.overrides.hydra, kind)
        if key not in self._composed:
            self._composed[key] = self._loader.load_sweep_config(master_config, sweep_overrides)
        config = copy.deepcopy(self._composed[key])
        for override, by_value in zip(parsed, plain, strict=True):
            if by_value:
                add = override.is_add() or override.is_force_add()
                OmegaConf.update(config, override.key_or_group, override.value(), force_add=add)
        _tell(config, [override for override in parsed if not override.is_hydra_override()])
        return config

    def _is_plain(self, override: Override) -> bool:
        """Whether it does nothing but give one of our settings a value."""
        if override.is_hydra_override() or override.is_delete() or self._is_group(override):
            return False
        return isinstance(override.value(), PLAIN)

    def _is_group(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = bool(self._loader.get_group_options(key))
        # A group may be given its settings, too: tracker={experiment: mine}.
        return override.package is not None or (self._groups[key] and not isinstance(override.value(), dict))

    def _overlap(self, parsed: Sequence[Override]) -> bool:
        """Whether some override gives a part of what another gives: then their order counts."""
        keys = [override.key_or_group for override in parsed if not self._is_group(override)]
        return any(f"{other}.".startswith(f"{one}.") for one, other in itertools.permutations(keys, 2))


def _tell(config: DictConfig, given: list[Override]) -> None:
    """Write down what was given, as Hydra does."""
    names = config.hydra.job.config.override_dirname
    with open_dict(config):
        config.hydra.overrides.task = [override.input_line for override in given]
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=given, exclude_keys=names.exclude_keys, item_sep=names.item_sep, kv_sep=names.kv_sep
        )
