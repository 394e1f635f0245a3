"""Secrets of the environment, and texts without them."""

from __future__ import annotations

import pytest

from llama_experiments.secrets import hidden, secret_settings, secrets


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HF_TOKEN": "hf_abcdefgh",
        "SHORT_TOKEN": "true",  # a word that may stand anywhere
        "HF_TOKEN_PATH": "/home/me/token",  # no secret, but where one is
        "TOKENIZERS_PARALLELISM": "sometimes",  # not a token's name
        "DB_PASSWORD": "correct horse",
    }.items():
        monkeypatch.setenv(name, value)


def test_what_is_a_secret() -> None:
    assert {"HF_TOKEN", "DB_PASSWORD"} <= secrets().keys()
    assert not {"SHORT_TOKEN", "HF_TOKEN_PATH", "TOKENIZERS_PARALLELISM"} & secrets().keys()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a hf_abcdefgh b correct horse", "a *** b ***"),
        ("at http://me:pass@host:1/x and s3://key@b", "at http://***@host:1/x and s3://***@b"),
        ("nobody@example.org, true sometimes", "nobody@example.org, true sometimes"),
    ],
)
def test_a_text_without_secrets(text: str, shown: str) -> None:
    assert hidden(text) == shown


def test_a_setting_that_holds_one() -> None:
    (mistake,) = secret_settings({"a.b": "x hf_abcdefgh", "c": "true", "d": None})
    assert str(mistake).startswith("a.b: holds the value of HF_TOKEN")
    (mistake,) = secret_settings({"labels.hf_abcdefgh": 1})
    assert "hf_abcdefgh" not in str(mistake)
