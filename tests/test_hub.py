"""The Hub's silence and its refusals."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import errors as hub_errors

from llama_experiments import hub
from llama_experiments.errors import UserError


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (hub_errors.GatedRepoError, 403, "is gated: ask for access"),
        (hub_errors.RepositoryNotFoundError, 404, "there is no 'a/b' on the Hub, or it is private"),
        (hub_errors.RevisionNotFoundError, 404, "has no such revision"),
        (hub_errors.HfHubHTTPError, 500, "the Hub refused 'a/b' (status 500)"),
    ],
)
def test_a_refusal_is_explained_without_its_text(
    error: type[hub_errors.HfHubHTTPError], status: int, words: str
) -> None:
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    outer = OSError("a library's own words, with hf_secret")
    outer.__cause__ = error("with hf_secret in it", response=response)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught, hub.explained("a/b", "model.checkpoint"):
        raise outer
    assert str(caught.value).startswith("model.checkpoint: ")
    assert words in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_other_failures_pass() -> None:
    with pytest.raises(KeyError), hub.explained("a/b", "model.checkpoint"):
        raise KeyError("ours")


def test_a_silent_hub_is_asked_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(hub, "_probe", lambda answered: time.sleep(1))
    assert not hub.stay_offline_when_unreachable()
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_what_was_downloaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hub.not_downloaded("model", "a/b")
    assert hub.not_downloaded("dataset", "a/b")
    (tmp_path / "hub" / "models--a--b" / "snapshots").mkdir(parents=True)
    (tmp_path / "datasets" / "a___b").mkdir(parents=True)
    assert not hub.not_downloaded("model", "a/b")
    assert not hub.not_downloaded("dataset", "a/b")
