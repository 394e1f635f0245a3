"""Our launcher, as Hydra finds it: a sweep's jobs go to `llama_experiments.sweeps.launch`.

Hydra imports this at every start, `--help` too: nothing but Hydra is imported at the top.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class LlamaExperimentsLauncher(Launcher):
    """Sees all jobs before the first starts; keeps a ledger of them in the sweep's folder."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs; the sweeper, whose context this is, is to compose quickly, too."""
        from llama_experiments.sweeps.composing import QuickLoader

        hydra_context.config_loader = QuickLoader(hydra_context.config_loader)
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run what is missing of these jobs; each one's return, in their order."""
        from llama_experiments.sweeps.launch import launch_jobs

        return launch_jobs(self.hydra_context, self.task_function, self.config, job_overrides, initial_job_idx)


# The settings of the launch are those of our group `sweep`.
NODE = {"_target_": "hydra_plugins.llama_experiments_launcher.launcher.LlamaExperimentsLauncher"}
ConfigStore.instance().store(
    group="hydra/launcher", name="llama_experiments", node=NODE, provider="llama_experiments"
)
