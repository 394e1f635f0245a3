"""What a person sees of a sweep: `ui` serves the page, and a browser finds both loss curves of each run there."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.conftest import ROOT, Command

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
RATES = ("0.001", "0.003")
# A drawn line of a chart, with its colour: <path class="js-line" d="..." style="... stroke: rgb(1, 2, 3); ...">
LINE = re.compile(r'<path class="js-line" d="(M[^"]*)"[^>]*?stroke: rgb\((\d+), (\d+), (\d+)\)')


@pytest.fixture
def page(command: Command, local_run: list[str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The links that `ui` prints for a sweep of two runs, each of two epochs, with the page being served."""
    sweep = ["-m", f"training.learning_rate={','.join(RATES)}", "training.epochs=2"]
    done = command(*[argument for argument in local_run if "epochs" not in argument], *sweep)
    assert done.returncode == 0, done.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "ui.txt").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "llama_experiments", "ui", f"port={port}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        said = (tmp_path / "ui.txt").read_text()
        yield dict(re.findall(r"^  (\w+) +(http\S+)$", said, re.MULTILINE))
    finally:
        server.terminate()
        server.wait(timeout=60)


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Until it answers."""
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


def browse(link: str, profile: Path, *what: str) -> str:
    """Open a page in a browser that nobody used before; what it has become after a minute of its own clock."""
    assert BROWSER is not None
    settings = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1800,1000"]
    settings += [f"--user-data-dir={profile}", "--virtual-time-budget=60000"]
    command = [BROWSER, *settings, *what, link]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def pixels_of(picture: Path, colour: tuple[int, ...]) -> int:
    """How many pixels of a picture have a colour, nearly."""
    image = np.rint(matplotlib.image.imread(picture)[..., :3] * 255)
    return int((np.abs(image - np.array(colour)).max(axis=-1) <= 2).sum())


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_page_shows_each_run_and_its_two_loss_curves(page: dict[str, str], tmp_path: Path) -> None:
    assert list(page) == ["runs", "losses"]
    for attempt in range(4):  # on a busy machine the browser's clock may run ahead of the server
        html = browse(page["losses"], tmp_path / f"profile{attempt}", "--dump-dom")
        lines = set(LINE.findall(html))
        if len(lines) == 4:
            break
    names = [f"learning_rate={rate}" for rate in RATES]
    for name in names:
        for metric in ("train_loss", "eval_loss"):
            assert f">{name} ({metric})<" in html
    assert len(lines) == 4
    # The training loss has epochs 1 and 2, the evaluation loss 0, 1 and 2.
    assert sorted(len(re.findall(r"[ML]", path)) for path, *_ in lines) == [2, 2, 3, 3]
    colours = {tuple(map(int, colour)) for _, *colour in lines}
    assert len(colours) == 2  # one a run

    picture = tmp_path / "losses.png"
    browse(page["losses"], tmp_path / "profile_picture", f"--screenshot={picture}")
    for colour in colours:
        assert pixels_of(picture, colour) > 200, f"no line of the colour {colour} in {picture}"

    html = browse(page["runs"], tmp_path / "profile_runs", "--dump-dom")
    for name in names:
        assert f">{name}<" in html
