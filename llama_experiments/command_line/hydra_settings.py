"""What Hydra itself is told to do: by our conf/, by the command line, by nobody else.

Its callbacks, its logging and the folders that it writes to are settings like any other, and it follows them before
anything of ours is called. A group's file from elsewhere (`--config-dir`) must not set them, however it does it: by a
`hydra` node, a package header, a choice moved to another package, or a file that takes the place of Hydra's own.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from llama_experiments.errors import ConfigError, Mistake

# What Hydra notes about the composition itself.
NOTES = ("hydra.runtime", "hydra.overrides", "hydra.searchpath", "hydra.job.override_dirname")


def refuse_hydra_settings(config: DictConfig, without: DictConfig) -> None:
    """Refuse a composition whose `hydra` node is not the one that it has without the files from elsewhere.

    Raises:
        ConfigError: naming each setting.
    """
    now, before = _leaves(config), _leaves(without)
    differing = [path for path in {**now, **before} if now.get(path) != before.get(path)]
    mistakes = [
        Mistake(
            path,
            "is set by a file of --config-dir, which must not set what Hydra does (it could run programs and write "
            "anywhere); give it on the command line",
        )
        for path in differing
        if not path.startswith(NOTES) and not any(other.startswith(f"{path}.") for other in differing)
    ]
    if mistakes:
        raise ConfigError(mistakes)


def _leaves(config: DictConfig) -> dict[str, Any]:
    from llama_experiments.config import leaves

    return leaves({"hydra": OmegaConf.to_container(config.hydra, resolve=False)})
