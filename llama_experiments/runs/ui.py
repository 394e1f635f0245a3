"""MLflow's page on the recorded runs: lean, and on localhost only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from llama_experiments.errors import UserError
from llama_experiments.runs.mirror import connect, prepare_environment

HOST = "127.0.0.1"


def serve(uri: str, port: int) -> int:
    """Serve the store's page until interrupted; returns the server's exit status.

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
    connect(uri)  # so that a store that is not there yet is made whole first
    prepare_environment()
    print(f"MLflow shows the runs of {uri}\nopen http://{HOST}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", HOST]
    command += ["--port", str(port), "--workers", "1"]
    # Without job workers the page is up in a third of the time and of the memory.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.run(command, env=environment, check=False).returncode
