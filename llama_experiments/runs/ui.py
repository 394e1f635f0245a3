"""MLflow's page on the recorded runs: lean, and on localhost only."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import NoReturn
from urllib.parse import quote

from llama_experiments.errors import UserError
from llama_experiments.runs.tracker import connect, prepare_environment

HOST = "127.0.0.1"
PAGE = f"http://{HOST}:5000"  # where `ui` serves unless told otherwise
NEWEST = 5  # runs whose losses are drawn in one chart
TRAINING = "workflowType=machine_learning"  # else MLflow's pages are about prompts and traces
# Without job workers the page is up in a third of the time and of the memory; its log is not for people.
SERVER_SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}


def serve(uri: str, experiment: str, port: int) -> NoReturn:
    """Become the server of the store's page, until interrupted.

    Raises:
        UserError: the store is a server itself, or the port is taken.
    """
    if uri.startswith(("http://", "https://")):
        raise UserError(f"tracker.uri: the runs are on a server; open {uri} in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port: {port} is taken by another program; give another one, port={port + 1}") from error
    prepare_environment()
    print(f"MLflow shows the runs of {uri} in a few seconds; Ctrl-C ends it")
    for what, link in links(uri, experiment, f"http://{HOST}:{port}").items():
        print(f"  {what:<8} {link}", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", HOST]
    command += ["--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    # In our place, not below us: whatever ends this process ends the server.
    os.execve(sys.executable, command, os.environ | SERVER_SETTINGS)


def links(uri: str, experiment: str, page: str) -> dict[str, str]:
    """Where to look: every run's charts, and both losses of the newest runs in one chart."""
    client = connect(uri)  # a store that is not there yet is made whole first
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {"no runs": page}
    key = found.experiment_id
    newest = client.search_runs([key], max_results=4 * NEWEST, order_by=["attributes.start_time DESC"])
    runs = [run for run in newest if "kind" not in run.data.tags][:NEWEST]  # a sweep has no loss of its own
    return {
        "runs": f"{page}/#/experiments/{key}/runs?{TRAINING}&compareRunsMode=CHART",
        "losses": losses_link(page, key, [run.info.run_id for run in runs]),
    }


def losses_link(page: str, experiment_id: str, run_ids: list[str]) -> str:
    """MLflow's chart of `train_loss` and `eval_loss` by epoch."""
    query = {
        "runs": run_ids,
        "metric": "eval_loss",
        "experiments": [experiment_id],
        "plot_metric_keys": ["train_loss", "eval_loss"],
    }
    said = "&".join(f"{key}={quote(json.dumps(value, separators=(',', ':')))}" for key, value in query.items())
    return f"{page}/#/metric?{said}&x_axis=step&{TRAINING}"
