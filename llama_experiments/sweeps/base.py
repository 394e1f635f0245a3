"""What a sweep is: which jobs a command stands for, and what is written when they are done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from llama_experiments.errors import check_settings
from llama_experiments.runs.folder import RunFolder

if TYPE_CHECKING:
    from llama_experiments.runs.result import Result


@dataclasses.dataclass(frozen=True)
class Job:
    """A job that ended well: its folder, its config, its choices of the groups, its result."""

    folder: RunFolder
    config: dict[str, Any]
    choices: dict[str, str]
    result: Result

    def epochs(self) -> list[dict[str, Any]]:
        """Its journal."""
        from llama_experiments.runs.journal import read_journal

        return read_journal(self.folder.epochs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A command that is several: each value of each axis with each of the others."""

    axes: dict[str, str] = dataclasses.field(default_factory=dict)  # a setting or group -> its values: a,b,c
    isolate: bool = False  # each job in a process of its own, so that a crash or a full memory ends one job
    parallel: int = 1  # jobs at once, each then in a process of its own, on a GPU of its own where there are
    retry_failed: bool = True  # a sweep that is run again tries jobs that failed again

    def __post_init__(self) -> None:
        hydras = next((key for key in self.axes if key.lstrip("+~").startswith("hydra")), None)
        check_settings(
            ("parallel", self.parallel >= 1, f"must be at least 1, not {self.parallel}"),
            # A file may not set what Hydra runs; an axis becomes an override, which may.
            ("axes", hydras is None, f"must be settings of an experiment; {hydras} is Hydra's own"),
        )

    def report(self, folder: Path, jobs: list[Job], missing: list[str]) -> list[str]:
        """Write what the jobs say together into `folder`; returns lines for the terminal.

        Args:
            jobs: those that ended well, in their order.
            missing: the names of those that did not.
        """
        from llama_experiments.sweeps.summary import summarize

        return summarize(folder, jobs, missing)


def read_jobs(folder: Path) -> tuple[list[Job], list[str]]:
    """The jobs of a sweep's folder, in their order: those with a result, and the names of those without."""
    from llama_experiments.runs.result import read_result

    started = sorted((path.parent for path in folder.glob("*/.hydra")), key=lambda path: _number(path.name))
    jobs, missing = [], []
    for run in map(RunFolder, started):
        if not run.result.exists():
            missing.append(run.name)
            continue
        config = yaml.safe_load((run.hydra / "config.yaml").read_text(encoding="utf-8"))
        hydra = yaml.safe_load((run.hydra / "hydra.yaml").read_text(encoding="utf-8"))["hydra"]
        choices = {group: str(choice) for group, choice in hydra["runtime"]["choices"].items() if choice}
        jobs.append(Job(run, config, choices, read_result(run)))
    return jobs, missing


def _number(name: str) -> tuple[int, str]:
    number, _, rest = name.partition("-")
    return (int(number), rest) if number.isdecimal() else (1 << 62, name)
