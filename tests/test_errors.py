"""Sentences for mistakes."""

from __future__ import annotations

import pytest

from llama_experiments.errors import (
    ConfigError,
    Mistake,
    SettingError,
    UserError,
    check_settings,
    nearest,
    offer,
    tell,
)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("epohcs", "epochs"),
        ("learning", "learning_rate"),
        ("lr", "learning_rate"),
        ("lrr", "learning_rate"),
        ("wd", "weight_decay"),
        ("zzz", None),
        ("", None),
    ],
)
def test_nearest(word: str, expected: str | None) -> None:
    assert nearest(word, ["epochs", "learning_rate", "weight_decay", "seed"]) == expected


def test_offer() -> None:
    assert offer("ful", ["full", "lora"], "the choices") == "did you mean 'full'?"
    assert offer("zzz", ["full", "lora"], "the choices") == "the choices: full, lora"
    assert offer("zzz", [], "the choices") == "there is nothing to choose from"
    many = offer("zzz", [f"file{number}" for number in range(200)], "files there")
    assert many.endswith(" and 180 more")
    assert many.count(",") == 19


def test_every_broken_rule_is_told() -> None:
    with pytest.raises(SettingError) as caught:
        check_settings(("a", False, "must be 1"), ("b", True, "must be 2"), ("c", False, "must be 3"))
    assert caught.value.problems == [("a", "must be 1"), ("c", "must be 3")]


def test_a_mistake_says_where_it_was_set() -> None:
    mistake = Mistake("a.b", "is wrong").at("conf/a.yaml")
    assert str(mistake) == "a.b: is wrong       (conf/a.yaml)"
    assert str(ConfigError([mistake, Mistake("", "so is this")])).splitlines()[1] == "so is this"


def test_a_mistake_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    error = UserError("once")
    tell(error)
    tell(error)
    assert capsys.readouterr().err == "once\n"
