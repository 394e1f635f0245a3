"""The Hugging Face Hub: is it there, and what its refusals mean.

A library that cannot reach the Hub keeps trying for up to 47 seconds. So the Hub is asked once, for two seconds
at most, before anything that needs it is imported, and the libraries are told to stay offline when it is silent.
"""

from __future__ import annotations

import contextlib
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from llama_experiments.errors import UserError

PROBE_SECONDS = 2.0


def stay_offline_when_unreachable() -> bool:
    """Ask the Hub for a sign of life; without one, tell the libraries to use only what was downloaded before.

    To be called before huggingface_hub is imported, which reads the setting then. Returns whether it answered.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    answered = threading.Event()
    # In a thread: a look-up of a name takes no timeout of ours.
    threading.Thread(target=_probe, args=(answered,), daemon=True).start()
    if answered.wait(PROBE_SECONDS):
        return True
    os.environ["HF_HUB_OFFLINE"] = "1"
    return False


def _probe(answered: threading.Event) -> None:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answered, if with a refusal
    except (OSError, ValueError):
        return
    answered.set()


def not_downloaded(kind: str, name: str) -> bool:
    """Whether nothing of a "model" or "dataset" was ever downloaded to this machine; told without any import."""
    home = _folder("HF_HOME", _folder("XDG_CACHE_HOME", Path("~/.cache")) / "huggingface")
    snapshots = _folder("HF_HUB_CACHE", home / "hub") / f"{kind}s--{name.replace('/', '--')}" / "snapshots"
    prepared = _folder("HF_DATASETS_CACHE", home / "datasets") / name.replace("/", "___")
    return not snapshots.is_dir() and not (kind == "dataset" and prepared.is_dir())


def gated(name: str) -> str:
    """The sentence for what needs its owner's leave."""
    return (
        f"'{name}' is gated: ask for access on its page on the Hub, then log in once with 'hf auth login' or set "
        "the environment variable HF_TOKEN (never write a token into a config)"
    )


def not_found(name: str) -> str:
    """The sentence for what the Hub does not have, or does not show."""
    return f"there is no '{name}' on the Hub, or it is private: then log in with 'hf auth login'"


def unreachable(name: str) -> str:
    """The sentence for what is neither here nor to be had."""
    return (
        f"'{name}' was not downloaded before and the Hub cannot be reached; connect to the network, or use a local "
        "folder or file"
    )


@contextlib.contextmanager
def explained(name: str, setting: str) -> Iterator[None]:
    """Turn the Hub's refusals into sentences. A token is never printed: messages of libraries are not passed on.

    Raises:
        UserError: gated, not found, without access, or no network and not downloaded before.
    """
    try:
        yield
    except Exception as error:
        sentence = _sentence(error, name)
        if sentence is None:
            raise
        raise UserError(f"{setting}: {sentence}") from error


def _sentence(error: BaseException, name: str) -> str | None:
    """What the Hub's refusal among an error and its causes means."""
    from huggingface_hub import errors as refused

    # The most specific first: most of these are kinds of another.
    meanings: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
        (refused.GatedRepoError, gated(name)),
        (refused.RevisionNotFoundError, f"'{name}' has no such revision"),
        (refused.RepositoryNotFoundError, not_found(name)),
        ((refused.LocalEntryNotFoundError, refused.OfflineModeIsEnabled, ConnectionError), unreachable(name)),
        (refused.EntryNotFoundError, f"'{name}' lacks a file that is needed"),
    ]
    found = None
    current: BaseException | None = error
    while current is not None:  # the innermost is what the Hub said
        if isinstance(current, refused.HfHubHTTPError):
            found = f"the Hub refused '{name}' (status {getattr(current.response, 'status_code', 'unknown')})"
        found = next((meaning for kinds, meaning in meanings if isinstance(current, kinds)), found)
        current = current.__cause__ or current.__context__
    return found


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).expanduser()
