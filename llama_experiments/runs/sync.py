"""A run's folder brought to MLflow, whenever: what is not there yet, and nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_experiments.errors import UserError
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirrored import Mirroring, read_mirrored
from llama_experiments.runs.saved import SavedRun
from llama_experiments.runs.tracker import Tracker, store_file, without_password


def sync_run(saved: SavedRun, tracker: Tracker | None = None) -> dict[str, int]:
    """Bring a run's mirror to its folder's state; what was sent, by kind. A second time sends nothing.

    Args:
        tracker: of another store to bring it to; None: the run's own.

    Raises:
        UserError: the tracker does not answer, the folder is being mirrored, or its tracker.json is damaged.
    """
    from llama_experiments.runs import described
    from llama_experiments.runs.follower import Follower
    from llama_experiments.runs.mirror import link

    folder = saved.folder
    if not folder.epochs.exists():
        raise UserError(f"{show(folder.path)} has no journal: its run ended before it began")
    tracker = tracker or tracker_of(folder)
    uri = tracker.resolved_uri(_output_dir(folder))
    file = store_file(uri)
    if file is not None and not file.parent.is_dir():
        raise UserError(
            f"{show(folder.path)} was mirrored to {file}, whose folder does not exist here; say where with "
            "tracker.uri=..."
        )
    right = Mirroring(folder.path)
    try:
        follower = Follower(folder, uri, link(folder, tracker, uri))
        status = described.status(folder)
        follower.open(status)
        if status == "RUNNING":
            follower.catch_up()
        else:
            follower.close(status)
    except UserError:
        raise
    except Exception as error:  # an MLflow error's own text may hold a password
        raise UserError(
            f"the tracker at {without_password(uri)} does not answer ({type(error).__name__}): {show(folder.path)} "
            "is not up to date there; nothing of it is lost, sync it again when the tracker answers"
        ) from None
    finally:
        right.release()
    return follower.sent


def tracker_of(folder: RunFolder) -> Tracker:
    """Where a run is mirrored to: as it was last, or as its config says."""
    told = read_mirrored(folder.path)
    if told is not None:
        return Tracker(
            uri=told.uri, experiment=told.experiment, every_steps=told.every_steps, log_model=told.log_model
        )
    config = _config(folder).get("tracker", {})
    known = {key: config[key] for key in ("uri", "experiment", "every_steps", "log_model") if key in config}
    return Tracker(**known)


def _output_dir(folder: RunFolder) -> Path:
    """Where the run's store is by default: in the folder above it that has one, else where its config says."""
    for above in folder.path.resolve().parents:
        if (above / "mlflow.db").exists():
            return above
    return Path(str(_config(folder).get("output_dir", "outputs")))


def _config(folder: RunFolder) -> dict[str, Any]:
    return SavedRun(folder).plain_config() if (folder.hydra / "config.yaml").exists() else {}
