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

from llama_experiments.errors import UserError

PROBE_SECONDS = 2.0


def stay_offline_when_unreachable() -> bool:
    """Ask the Hub for a sign of life; without one, tell the libraries to use only what was downloaded before.

    To be called before huggingface_hub is imported, which reads the setting then. Returns whether it answered.
    """
    if os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "True"):
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


@contextlib.contextmanager
def explained(name: str, setting: str) -> Iterator[None]:
    """Turn the Hub's refusals into sentences. A token is never printed: messages of libraries are not passed on.

    Raises:
        UserError: gated, not found, without access, or no network and not downloaded before.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"{setting}: '{name}' is gated: ask for access on its page on the Hub, then log in once with "
            "'hf auth login' or set the environment variable HF_TOKEN (never write a token into a config)"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{setting}: '{name}' has no such revision") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{setting}: there is no '{name}' on the Hub, or it is private: then log in with 'hf auth login'"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise UserError(
            f"{setting}: '{name}' was not downloaded before and the Hub cannot be reached; "
            "connect to the network, or use a local folder"
        ) from error
    except EntryNotFoundError as error:
        raise UserError(f"{setting}: '{name}' lacks a file that is needed") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "unknown")
        raise UserError(f"{setting}: the Hub refused '{name}' (status {status})") from error
