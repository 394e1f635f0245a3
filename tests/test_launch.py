"""The ready scripts of launch/, with stand-ins for what only a cluster has."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.journal import read_journal
from tests.conftest import ROOT
from tests.training.launched import INTERRUPTED, SENTIMENT, Commands, make_commands

LAUNCH = ROOT / "llama_experiments" / "launch"
SRUN = """#!/usr/bin/env bash
# Two tasks, as of two nodes.
while [ "${1#--}" != "$1" ]; do shift; done
for task in 0 1; do SLURM_PROCID=$task SLURM_LOCALID=0 "$@" & tasks="${tasks-} $!"; done
worst=0
for task in $tasks; do wait $task || { status=$?; [ $status -gt $worst ] && worst=$status; }; done
exit $worst
"""
SCONTROL = """#!/usr/bin/env bash
[ "$1" = show ] && echo localhost
[ "$1" = requeue ] && echo "queued again: $2"
exit 0
"""


@pytest.fixture(scope="module")
def commands(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return make_commands(tmp_path_factory.mktemp("launched"), model_folder)


def launched(commands: Commands, script: str, outputs: str, *more: str, **environment: str) -> subprocess.Popen[str]:
    data = [f"dataset.{part}={commands.folder / part}.csv" for part in ("train", "validation")]
    model = ["model=local", f"model.checkpoint={commands.model}", "model.learning_rate=1e-3", "training.epochs=2"]
    return subprocess.Popen(
        [LAUNCH / script, *model, *data, *SENTIMENT, *more, f"output_dir={outputs}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=commands.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"} | environment,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def runs_in(commands: Commands, outputs: str) -> list[RunFolder]:
    return [RunFolder(path.parent) for path in (commands.folder / outputs).glob("*/*/epochs.jsonl")]


@pytest.mark.parametrize("script", sorted(path.name for path in LAUNCH.iterdir()))
def test_every_script_is_bash(script: str) -> None:
    done = subprocess.run(["bash", "-n", LAUNCH / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(LAUNCH / script, os.X_OK)


def test_several_machines_make_one_run(commands: Commands) -> None:
    """Two launchers that meet at the head."""
    place = {"MACHINES": "2", "HEAD": f"127.0.0.1:{free_port()}", "PROCESSES": "1"}
    machines = [launched(commands, "several_machines.sh", "machines", **place) for _ in range(2)]
    told = [machine.communicate(timeout=240)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    (run,) = runs_in(commands, "machines")
    assert [record["epoch"] for record in read_journal(run.epochs)] == [0, 1, 2]
    assert sum(text.count("Epoch 2/2") for text in told) == 1
    assert ", 2 processes" in "".join(told)


def test_slurm_queues_a_run_again_and_it_goes_on(commands: Commands, tmp_path: Path) -> None:
    """Two tasks of two nodes; the time is up in the first epoch. The second time it runs to its end."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    cluster = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        **{"SLURM_JOB_ID": str(free_port() - 20000), "SLURM_JOB_NODELIST": "localhost", "SLURM_NTASKS": "2"},
    }
    up = {"INTERRUPT": "1:5:SIGUSR1", "PYTHONPATH": f"{ROOT}{os.pathsep}{INTERRUPTED}"}
    first = launched(commands, "slurm.sbatch", "slurm", **cluster, **up)
    told = first.communicate(timeout=240)[0]
    assert first.returncode == 128 + signal.SIGUSR1, told
    assert f"queued again: {cluster['SLURM_JOB_ID']}" in told
    again = launched(commands, "slurm.sbatch", "slurm", **cluster)
    told = again.communicate(timeout=240)[0]
    assert again.returncode == 0, told
    assert "going on from step 5" in told
    assert "each with a share of the weights (FSDP2)" in told
    (run,) = runs_in(commands, "slurm")
    assert [record["step"] for record in read_journal(run.steps)] == list(range(1, 15))
