"""A job that is composed quickly has the config that Hydra composes."""

from collections.abc import Iterator

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from llama_experiments.command_line.config_files import CONF
from llama_experiments.sweeps.composing import QuickLoader

SWEEPS = {
    "values": [["seed=0"], ["seed=1"], ["seed=2"]],
    "two axes": [["seed=0", "training.learning_rate=1e-3"], ["seed=1", "training.learning_rate=0.5"]],
    "a group beside": [["technique=lora", "technique.rank=2"], ["technique=lora", "technique.rank=4"]],
    "groups": [["technique=lora"], ["technique=full"], ["technique=lora"]],
    "texts": [["output_dir='a b'"], ["output_dir=${seed}"], ["output_dir=null"], ["output_dir='1'"]],
    "referred to": [["model.learning_rate=1e-3"], ["model.learning_rate=2e-3"]],
    "added": [["++dataset.labels=[a,b]", "seed=0"], ["++dataset.labels=[a,b]", "seed=1"]],
    "lists": [["dataset.columns={text: a}"], ["dataset.columns={label: b}"]],
    "hydra's": [["seed=0", "hydra.sweep.dir=x"], ["seed=1", "hydra.sweep.dir=x"], ["seed=1", "hydra.sweep.dir=y"]],
    "order counts": [
        ["tracker.experiment=a", "tracker={experiment: b}"],
        ["tracker.experiment=c", "tracker={experiment: b}"],
        ["tracker={experiment: b}", "tracker.experiment=c"],
    ],
}


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def _master(loader: ConfigLoader) -> DictConfig:
    return loader.load_configuration("config", ["hydra.sweep.subdir=here"], run_mode=RunMode.MULTIRUN)


@pytest.mark.parametrize("name", SWEEPS)
def test_the_same_as_hydras(loader: ConfigLoader, name: str) -> None:
    master, quick = _master(loader), QuickLoader(loader)
    for overrides in SWEEPS[name]:
        mine, theirs = (one.load_sweep_config(master, overrides) for one in (quick, loader))
        assert OmegaConf.to_yaml(mine) == OmegaConf.to_yaml(theirs)
        tasks = [OmegaConf.masked_copy(one, [key for key in one if key != "hydra"]) for one in (mine, theirs)]
        assert OmegaConf.to_yaml(tasks[0], resolve=True) == OmegaConf.to_yaml(tasks[1], resolve=True)


def test_composed_once_and_handed_out_as_copies(loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[list[str]] = []
    compose = loader.load_sweep_config

    def counted(master: DictConfig, overrides: list[str]) -> DictConfig:
        composed.append(overrides)
        return compose(master, overrides)

    monkeypatch.setattr(loader, "load_sweep_config", counted)
    master, quick = _master(loader), QuickLoader(loader)
    first = quick.load_sweep_config(master, ["seed=3", "technique=full"])
    first.seed = 99
    second = quick.load_sweep_config(master, ["seed=4", "technique=full"])
    quick.load_sweep_config(master, ["seed=4", "technique=freeze"])
    assert (first.seed, second.seed) == (99, 4)
    assert composed == [["seed=3", "technique=full"], ["seed=4", "technique=freeze"]]


def test_an_unknown_setting_is_hydras_to_refuse(loader: ConfigLoader) -> None:
    with pytest.raises(Exception, match="sead"):
        QuickLoader(loader).load_sweep_config(_master(loader), ["sead=1"])


def test_all_else_is_hydras(loader: ConfigLoader) -> None:
    assert QuickLoader(loader).list_groups("") == loader.list_groups("")
