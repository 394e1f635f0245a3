"""A tracking server that is ended, frozen and started again at random while runs go on. By hand: minutes.

    python tests/torture/tracker.py [runs=20] [seed=0] [folder=/tmp/torture]

At the end the server is up, all runs are synced, and each run's history in MLflow must be its journal's: no point
lost, none twice, one run each; a second sync must send nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from threading import Event, Thread
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
TINY = ["dataset.train_examples=24", "dataset.validation_examples=16", "training.save_model=last"]
TINY += ["training.epochs=3", "training.batch_size=8", "tracker.every_steps=1", "tracker.patience=5"]


class Server:
    """`mlflow server` on localhost, which can be ended, frozen and started again on the same store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.counted: Counter[str] = Counter()

    def start(self) -> None:
        """Start it; it answers some seconds later."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        switches = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | switches, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            time.sleep(0.2)
        raise TimeoutError("the server does not start")

    def signal(self, number: int) -> None:
        """To all of its processes."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def stop(self, number: int) -> None:
        """End it."""
        if self._process is not None:
            self.signal(number)
            self._process.wait()
            self._process = None

    def trouble(self, over: Event, chance: random.Random) -> None:
        """Ended, killed or frozen for a while, again and again."""
        while not over.wait(chance.uniform(0.5, 20)):
            what = chance.choice(["ended", "killed", "frozen"])
            self.counted[what] += 1
            if what == "frozen":
                self.signal(signal.SIGSTOP)
                over.wait(chance.uniform(1, 25))
                self.signal(signal.SIGCONT)
            else:
                self.stop(signal.SIGTERM if what == "ended" else signal.SIGKILL)
                over.wait(chance.uniform(0, 5))
                self.start()
                if chance.random() < 0.7:  # else it may end before it has begun to answer
                    self.wait()


def command(*arguments: str) -> tuple[int, str]:
    """Run a command line in this process; its status and what it said."""
    from hydra.core.global_hydra import GlobalHydra

    from llama_experiments.cli import main

    GlobalHydra.instance().clear()
    sys.argv = ["llama_experiments"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(arguments)
    return status, out.getvalue() + err.getvalue()


def journal(folder: Path) -> dict[tuple[str, int], float]:
    """What MLflow must have, read from the journal by this script's own rules."""
    wanted: dict[tuple[str, int], float] = {}
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for step in steps:
        wanted["train_step_loss", step["step"]] = step["loss_sum"] / step["count"]
        wanted["train_step_learning_rate", step["step"]] = step["learning_rate"]
        wanted["train_step_gradient_norm", step["step"]] = step["gradient_norm"]
    for line in (folder / "epochs.jsonl").read_text().splitlines():
        epoch = json.loads(line)
        told = {"train_loss": epoch["train_loss"], "eval_loss": epoch["eval_loss"], **epoch["metrics"]}
        mine = [step for step in steps if step["epoch"] == epoch["epoch"]]
        if mine:
            told["train_tokens_per_second"] = sum(s["tokens"] for s in mine) / sum(s["seconds"] for s in mine)
        wanted |= {(key, epoch["epoch"]): value for key, value in told.items() if value is not None}
    return wanted


def differences(client: Any, runs: list[Any], folder: Path) -> list[str]:
    """What is lost, twice or other than in the journal."""
    uid = json.loads((folder / "tracker.json").read_text())["run_uid"]
    mine = [run for run in runs if run.data.tags.get("run_uid") == uid]
    if len(mine) != 1:
        return [f"{folder.name}: {len(mine)} runs"]
    (run,) = mine
    wanted, found = journal(folder), Counter[tuple[str, int]]()
    wrong = [] if run.info.status == "FINISHED" else [f"{folder.name}: {run.info.status}"]
    for key in {key for key, _ in wanted} | set(run.data.metrics):
        for point in client.get_metric_history(run.info.run_id, key):
            found[key, point.step] += 1
            if abs(wanted.get((key, point.step), float("inf")) - point.value) > 1e-12 * max(1, abs(point.value)):
                wrong.append(f"{folder.name}: {key} at {point.step} is {point.value}")
    wrong += [f"{folder.name}: {key} at {step} is lost" for key, step in wanted if not found[key, step]]
    wrong += [f"{folder.name}: {key} at {step} is there {n} times" for (key, step), n in found.items() if n > 1]
    parameters = json.loads((folder / "run.json").read_text())["parameters"]
    if run.data.params != {key: str(value) for key, value in parameters.items()}:
        wrong.append(f"{folder.name}: parameters differ")
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    wrong += [f"{folder.name}: no {name}" for name in ("report.md", "epochs.jsonl", "hydra") if name not in names]
    if len(run.inputs.dataset_inputs) != 2 or len(run.outputs.model_outputs) != 1:
        wrong.append(f"{folder.name}: {len(run.inputs.dataset_inputs)} data sets, {run.outputs.model_outputs} models")
    return wrong


def main() -> int:
    settings = {"runs": "20", "seed": "0", "folder": ""} | dict(word.split("=", 1) for word in sys.argv[1:])
    folder = Path(settings["folder"] or tempfile.mkdtemp(prefix="torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    server, over = Server(folder), Event()
    from llama_experiments.runs.tracker import connect

    connect(f"sqlite:///{folder / 'server.db'}")  # a server that is ended while it makes its store breaks it for good
    server.start()
    server.wait()
    seconds: list[float] = []
    interrupted = 0
    troubles = Thread(target=server.trouble, args=(over, random.Random(int(settings["seed"]))))
    try:
        for number in range(int(settings["runs"])):
            if number == 1:  # the first is the measure of the others
                troubles.start()
            started = time.perf_counter()
            status, said = command(
                *TINY, f"seed={number}", f"tracker.uri={server.uri}", f"hydra.run.dir=runs/{number}"
            )
            seconds.append(time.perf_counter() - started)
            assert status == 0, said
            interrupted += "does not answer" in said
            print(f"run {number}: {seconds[-1]:.1f} s{', not mirrored' * ('does not answer' in said)}", flush=True)
        over.set()
        if troubles.is_alive():
            troubles.join()
        server.stop(signal.SIGKILL)
        server.start()
        server.wait()
        status, said = command("sync", "runs/*")
        assert status == 0, said
        status, again = command("sync", "runs/*")
        assert status == 0, again
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=server.uri)
        experiment = client.get_experiment_by_name("llama_experiments")
        assert experiment is not None
        runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
        wrong = [line for path in sorted((folder / "runs").iterdir()) for line in differences(client, runs, path)]
        wrong += [line for line in again.splitlines() if "is up to date" not in line]
        if len(runs) != len(seconds):
            wrong.append(f"{len(runs)} runs in MLflow of {len(seconds)}")
    finally:
        server.stop(signal.SIGKILL)
    points = sum(len(journal(path)) for path in (folder / "runs").iterdir())
    print(said)
    print(f"server: {dict(server.counted)}; {interrupted} of {len(seconds)} runs were not mirrored as they ended")
    print(f"seconds a run: undisturbed {seconds[0]:.1f}, others {min(seconds[1:]):.1f} to {max(seconds[1:]):.1f}")
    print("\n".join(wrong) if wrong else f"{points:,} points: none lost, none twice; a second sync sent nothing")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
