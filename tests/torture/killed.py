"""Runs that are killed: a command in a forked process, which SIGKILL ends at a chosen moment, and what it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

MOMENTS = {  # where SIGKILL comes: the function during whose call it does
    "step": "llama_experiments.runs.journal:Journal.step",
    "torn": "llama_experiments.runs.journal:_append",
    "epoch": "llama_experiments.runs.record:Record.keep",
    "model": "llama_experiments.runs.record:Record.keep_model",
    "checkpoint": "llama_experiments.training.checkpoint:save_file",
    "renaming": "llama_experiments.files:_sync",
    "evaluation": "llama_experiments.training.evaluation:to_device",
    "tracker": "llama_experiments.runs.follower:Follower._log",
    "start": "llama_experiments.runs.mirror:Mirror.start",
    "finish": "llama_experiments.runs.closing:write_report",
    "closing": "llama_experiments.runs.mirror:Mirror.finish",
    "test": "llama_experiments.runs.record:Record.test",
    "clearing": "llama_experiments.training.checkpoints:Checkpoints.clear",
    "finished": "llama_experiments.runs.state:Held.release",
}

SHARED = (  # is imported once for all children, which takes longer than they do
    "llama_experiments.experiment",
    "transformers.models.llama.modeling_llama",
    "llama_experiments.runs.record",
    "llama_experiments.runs.follower",
    "mlflow.tracking",
    "matplotlib.pyplot",
)


@dataclasses.dataclass(frozen=True)
class At:
    """A signal in the n-th call of a moment's function."""

    moment: str
    call: int
    signal: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.moment}-{self.call}-{self.signal.name}"

    def come(self) -> None:
        """What happens to the process."""
        os.kill(os.getpid(), self.signal)


@dataclasses.dataclass(frozen=True)
class Full(At):
    """A disk that is full from then on: that of `folder`, which somebody else fills."""

    signal: signal.Signals = signal.SIGUSR2  # never sent
    folder: Path = Path()

    def __str__(self) -> str:
        return f"{self.moment}-{self.call}-full"

    def come(self) -> None:
        """Fill it."""
        with contextlib.suppress(OSError), (self.folder / "others.bin").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass


@dataclasses.dataclass(frozen=True)
class Limited(At):
    """No file may be larger than so many bytes from then on."""

    signal: signal.Signals = signal.SIGUSR2  # never sent
    size: int = 0

    def __str__(self) -> str:
        return f"{self.moment}-{self.call}-limited"

    def come(self) -> None:
        """Set the limit."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


def command(folder: Path, arguments: list[str], *signals: At | float, counts: Path | None = None) -> int:
    """Run a command line in a forked process, in `folder`; returns its wait status.

    Args:
        signals: that come to it; a number is SIGKILL after so many seconds.
        counts: a file that is told how often each moment comes.
    """
    for module in SHARED:
        importlib.import_module(module)
    process = os.fork()
    if process == 0:
        _child(folder, arguments, [at for at in signals if isinstance(at, At)], counts)
    for seconds in signals:
        if isinstance(seconds, float):
            time.sleep(seconds)
            os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def _child(folder: Path, arguments: list[str], signals: list[At], counts: Path | None) -> NoReturn:
    status = 99
    try:
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Not those of whoever tests, which may lead elsewhere.
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["llama_experiments"]
        for at in signals:
            _send(at)
        calls = _counted() if counts is not None else {}
        from hydra.core.global_hydra import GlobalHydra

        from llama_experiments.cli import main

        GlobalHydra.instance().clear()
        status = main(arguments)
        sys.stdout.flush()
        if counts is not None:
            counts.write_text(json.dumps(calls))
    finally:
        os._exit(status)


def _function(moment: str) -> tuple[Any, str]:
    """Where a moment's function is kept, and under what name."""
    module, _, name = MOMENTS[moment].partition(":")
    owner: Any = importlib.import_module(module)
    *inside, last = name.split(".")
    for part in inside:
        owner = getattr(owner, part)
    return owner, last


def _counted() -> dict[str, int]:
    """How often each moment comes, kept up to date."""
    calls = dict.fromkeys(MOMENTS, 0)

    def counting(moment: str) -> None:
        owner, last = _function(moment)
        original: Callable[..., Any] = getattr(owner, last)

        def counted(*values: Any, **named: Any) -> Any:
            calls[moment] += 1
            return original(*values, **named)

        setattr(owner, last, counted)

    for moment in MOMENTS:
        counting(moment)
    return calls


def _send(at: At) -> None:
    """Have the n-th call of the moment's function signal the process: in its middle, where it writes."""
    owner, last = _function(at.moment)
    original: Callable[..., Any] = getattr(owner, last)
    calls = 0

    def signalled(*values: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at.call:
            if at.moment == "torn" and at.signal is signal.SIGKILL:
                file, record = values
                file.write(json.dumps(record)[:20])
                file.flush()
            elif at.moment == "checkpoint" and at.signal is signal.SIGKILL:
                Path(values[1]).write_bytes(b"\x00" * 100)
            elif at.moment in ("model", "tracker", "clearing") and at.signal is signal.SIGKILL:
                original(*values, **named)
            at.come()
        return original(*values, **named)

    setattr(owner, last, signalled)


def left_by(run: Path, uri: str | None = None) -> dict[str, Any]:
    """All that a finished run says, without clock times: what two equal runs must agree in.

    Args:
        uri: of the MLflow store, to compare every point there as well.
    """
    import pyarrow.parquet as pq

    from llama_experiments.files import hash_of_file
    from llama_experiments.runs.journal import read_journal

    def told(file: str) -> list[dict[str, Any]]:
        records = read_journal(run / file)
        return [{key: value for key, value in record.items() if key not in ("time", "seconds")} for record in records]

    left: dict[str, Any] = {"steps": told("steps.jsonl"), "epochs": told("epochs.jsonl")}
    left["movement"] = json.loads((run / "movement.json").read_text())
    left["predictions"] = pq.read_table(run / "predictions.parquet").to_pydict()
    left["weights"] = {str(file.relative_to(run)): hash_of_file(file) for file in run.glob("*/*.safetensors")}
    left["beside"] = sorted(path.name for path in run.iterdir() if path.name not in ("resumes.jsonl", ".lock"))
    if uri is not None:
        left["points"] = points(uri, run)
    return left


def points(uri: str, run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every metric of the one MLflow run of a folder: (step, value), as often as it is there; no speeds."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = [
        one
        for experiment in client.search_experiments()
        for one in client.search_runs([experiment.experiment_id])
        if one.data.tags.get("run_folder") == str(run.resolve())
    ]
    assert len(found) == 1, f"{len(found)} runs in MLflow for {run.name}"
    assert found[0].info.status == "FINISHED", found[0].info.status
    run_id = found[0].info.run_id
    return {
        key: sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))
        for key in found[0].data.metrics
        if not key.endswith("_per_second")
    }
