"""A plain tree against dataclasses: what converts, what does not, and every mistake in one answer."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any, Literal

import pytest

from llama_experiments.config import _convert, _Wrong, build
from llama_experiments.errors import ConfigError, check_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    size: int
    rate: float = 0.5
    kind: Literal["wide", "deep"] = "wide"

    def __post_init__(self) -> None:
        check_settings(("rate", 0 < self.rate < 1, f"must be in (0, 1), not {self.rate}"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    names: list[str] | None = None


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3.0, int, 3),
        ("3", int, 3),
        ("1e-3", float, 0.001),
        (2, float, 2.0),
        (7, str, "7"),
        (None, int | None, None),
        ("a", str | list[str], "a"),
        (["a", 1], str | list[str], ["a", "1"]),
        ({"a": 1}, dict[str, str], {"a": "1"}),
        (True, bool, True),
        ("deep", Literal["wide", "deep"], "deep"),
        ({"any": [1]}, Any, {"any": [1]}),
    ],
)
def test_what_converts(value: object, hint: Any, expected: object) -> None:
    converted = _convert(value, hint)
    assert (converted, type(converted)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        (3.5, int, "a whole number"),
        ("3.5", int, "a whole number"),
        (math.inf, int, "a whole number"),
        (True, int, "a whole number"),
        ("lots", float, "a number"),
        (None, float, "a number"),
        ([1], str, "text"),
        (True, str, "text"),
        ("yes", bool, "true or false"),
        ("a", list[str], "a list"),
        (3, dict[str, str], "a group of settings"),
        ("wyde", Literal["wide", "deep"], "one of wide, deep (did you mean 'wide'?)"),
        ("x", int | None, "a whole number or null"),
    ],
)
def test_what_does_not_convert(value: object, hint: Any, words: str) -> None:
    with pytest.raises(_Wrong) as caught:
        _convert(value, hint)
    assert str(caught.value) == words


def test_every_mistake_is_told_with_its_place() -> None:
    tree = {"inner": {"rate": 2, "kind": "wyde", "sise": 1}, "nams": []}
    with pytest.raises(ConfigError) as caught:
        build(tree, Outer, lambda path: f"place of {path}")
    told = {mistake.path: (mistake.sentence, mistake.origin) for mistake in caught.value.mistakes}
    assert set(told) == {"inner.kind", "inner.sise", "inner.size", "nams"}
    assert told["inner.sise"] == ("Inner has no such setting; did you mean 'size'?", "place of inner.sise")
    assert told["inner.size"][0] == "is required and is not set"


def test_rules_of_values_are_told_beside_what_does_not_convert() -> None:
    with pytest.raises(ConfigError) as caught:
        build({"inner": {"size": 1, "rate": 2, "kind": 5}}, Outer)
    assert [mistake.path for mistake in caught.value.mistakes] == ["inner.kind", "inner.rate"]


def test_a_good_tree_is_built() -> None:
    assert build({"inner": {"size": "4", "rate": "0.25"}}, Outer) == Outer(inner=Inner(size=4, rate=0.25))


@pytest.mark.parametrize("target", ["antigravity.fly", "os.system", 3, "", "llama_experimentsx.y"])
def test_a_foreign_target_is_never_imported(target: object) -> None:
    with pytest.raises(ConfigError, match="is not one of ours"):
        build({"inner": {"_target_": target, "size": 1}}, Outer)
    assert "antigravity" not in sys.modules
