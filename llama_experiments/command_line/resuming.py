"""A run that goes on: by its folder, or because a scheduler gave its command once more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.command_line.composition import Composition, compose_command
from llama_experiments.command_line.launchers import check_processes
from llama_experiments.command_line.launching import build_experiment
from llama_experiments.command_line.processes import is_first, run_in_processes, started
from llama_experiments.command_line.replay import refuse_unsafe_replay
from llama_experiments.errors import UserError, offer
from llama_experiments.paths import show
from llama_experiments.runs.arithmetic import as_recorded
from llama_experiments.runs.identity import same_run
from llama_experiments.runs.state import is_held, read_state

if TYPE_CHECKING:
    from llama_experiments.runs.saved import SavedRun

# What a run may be resumed with: it is no part of its mathematics.
MAY_CHANGE = (
    "training.processes",
    "training.sharding",
    "training.micro_batch_size",
    "training.evaluation_batch_size",
    "training.checkpoint",
    "training.out_of_memory",
    "training.skip_steps",
    "tracker",
)


def resume(saved: SavedRun, overrides: Sequence[str] = ()) -> int:
    """Go on with a run in its folder, in as many processes as it is to have; returns the exit status.

    Raises:
        UserError: it has finished, goes on already, or an override would make it another run.
    """
    state = saved.state()
    if state.state == "finished":
        shutil.rmtree(saved.folder.checkpoints, ignore_errors=True)  # a kill in the last moment leaves them
        raise UserError(f"{show(saved.folder.path)} has finished: there is nothing to resume")
    if is_first() and is_held(saved.folder.path):
        raise UserError(f"{show(saved.folder.path)} is running in another process; wait for it, or stop it first")
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in MAY_CHANGE):
            known = offer(key, MAY_CHANGE, "these may change")
            raise UserError(
                f"{key}: a run that is resumed keeps its settings, or it would be another; {known}; "
                "'reproduce RUN' with overrides makes another run"
            )
    refuse_unsafe_replay(saved.folder.hydra)
    composition = compose_command(list(overrides), [], saved.folder.hydra.absolute())
    composition = Composition.of_job(composition.tree, list(overrides), saved.choices())
    experiment = as_recorded(build_experiment(composition), saved)
    processes = experiment.training.processes or 1
    check_processes(experiment.training)
    if processes > 1 and started() == 1:
        return run_in_processes(processes, ["resume", str(saved.folder.path), *overrides])
    os.environ.setdefault("OMP_NUM_THREADS", str(_threads(saved)))  # read when torch is imported
    tags = _tags(saved)
    experiment.run(
        saved.folder.path,
        composition.tree,
        saved.overrides(),
        saved.choices(),
        tags,
        resumes=True,
        one_of_several="sweep" in tags,
    )
    return 0


def unfinished_run(tree: dict[str, Any], folder: Path) -> SavedRun | None:
    """The newest run of an equal config that did not come to its end and does not go on now.

    Args:
        tree: the config.
        folder: the run's own; if one is there it comes before those in `output_dir`.
    """
    from llama_experiments.runs.folder import RunFolder
    from llama_experiments.runs.saved import SavedRun

    unfinished: list[tuple[int, SavedRun]] = []
    for file in {folder / "state.json", *Path(str(tree.get("output_dir"))).glob("*/*/state.json")}:
        try:
            state = read_state(file.parent)
            if state is None or state.state not in ("stopped", "killed", "failed"):
                continue
            saved = SavedRun(RunFolder(file.parent))
            same = same_run(saved.plain_config(), tree)
        except UserError:  # what cannot be read is not equal
            continue
        if same and not is_held(file.parent):
            unfinished.append((state.started, saved))
    # Not by the folders' names: a user's own tell no time, and Hydra's tell that of a clock that is set twice a year.
    rank = lambda one: (one[1].folder.path == folder, one[0], one[1].folder.name)  # noqa: E731
    return max(unfinished, key=rank)[1] if unfinished else None


def _threads(saved: SavedRun) -> int:
    if not saved.folder.environment.exists():
        return os.cpu_count() or 1
    return int(saved.environment()["device"]["threads"])


def _tags(saved: SavedRun) -> dict[str, str]:
    """Of the sweep that the run is a job of."""
    kept = ("sweep", "mlflow.parentRunId", "mlflow.runName")
    return {key: value for key, value in saved.told().get("tags", {}).items() if key in kept}
