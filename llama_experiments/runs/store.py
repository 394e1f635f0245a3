"""A new SQLite store of MLflow's: a copy of an empty one, since making one takes its dozens of migrations seconds."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path


def create_store(file: Path) -> None:
    """Make an empty store, whole or not at all. An empty one of this version is kept in the user's cache folder."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mlflow-") as folder:
        beside = Path(folder) / file.name
        kept = template()
        if not _copied(kept, beside):
            _migrate(beside)
            _keep(beside, kept)
        _make_own(beside)
        os.replace(beside, file)


def template() -> Path:
    """Where the empty store of this MLflow is kept."""
    import mlflow

    given = os.environ.get("XDG_CACHE_HOME")
    cache = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    return cache / "llama_experiments" / f"mlflow-{mlflow.__version__}.db"


def _copied(kept: Path, file: Path) -> bool:
    """Copy the kept store; whether it is there and whole."""
    try:
        shutil.copyfile(kept, file)
        with contextlib.closing(sqlite3.connect(file)) as store:
            told = store.execute("PRAGMA quick_check").fetchone()
            migrated = store.execute("SELECT count(*) FROM alembic_version").fetchone()
            runs = store.execute("SELECT count(*) FROM runs").fetchone()
        whole = (told, migrated, runs) == (("ok",), (1,), (0,))
    except (OSError, sqlite3.Error):
        whole = False
    if not whole:
        file.unlink(missing_ok=True)
    return whole


def _migrate(file: Path) -> None:
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments(max_results=1)


def _keep(file: Path, kept: Path) -> None:
    from llama_experiments.files import replaced

    # A store can be made without: the next is as slow as this one was.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replaced(kept) as beside:
            shutil.copyfile(file, beside)


def _make_own(file: Path) -> None:
    """MLflow's experiment `Default` is as old as its store, and lies below the folder where that was made."""
    now = int(time.time() * 1000)
    with contextlib.closing(sqlite3.connect(file)) as store, store:
        told = (str(Path.cwd() / "mlruns" / "0"), now, now)
        store.execute(
            "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ? "
            "WHERE experiment_id = 0",
            told,
        )
