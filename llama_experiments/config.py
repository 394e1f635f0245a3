"""The composed config, checked against the dataclasses and built: beyond this module there is no `DictConfig`.

A group's YAML file is a constructor call: `_target_` names one of our dataclasses and the other keys are its
fields. `build` walks the tree beside the type hints, so the fields are the only schema there is.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypeVar, Union

from llama_experiments.errors import ConfigError, Mistake, SettingError, nearest, offer
from llama_experiments.plugins import OPTION, may_be_named

ALLOWED_PREFIX = "llama_experiments."
MISSING = "???"

T = TypeVar("T")


class _Wrong(Exception):
    """A value that does not convert; the message says what would be right."""


class _Invalid:
    """Stands for a value whose mistakes have been noted."""


INVALID = _Invalid()


def build(
    tree: Mapping[str, Any], expected: type[T], origin: Callable[[str], str] | None = None, path: str = ""
) -> T:
    """Build `expected` from a plain tree of a composed config.

    Args:
        tree: what `OmegaConf.to_container(config, resolve=True)` gives.
        expected: the dataclass to build; a node's `_target_` may name a subclass of what its field expects.
        origin: where the setting at a dotted path was set, for messages.
        path: dotted path of `tree` itself.

    Raises:
        ConfigError: with every mistake in the tree, not only the first.
    """
    builder = _Builder()
    built = builder.component(tree, expected, path)
    if builder.mistakes:
        raise ConfigError([m.at(origin(m.path) if origin else "") for m in builder.mistakes])
    return typing.cast(T, built)


def leaves(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The config's leaves by dotted path, as the tracker's parameters."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            found |= leaves(value, here)
        else:
            found[here] = value
    return found


class _Builder:
    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def note(self, path: str, sentence: str) -> _Invalid:
        self.mistakes.append(Mistake(path, sentence))
        return INVALID

    def component(self, node: Any, expected: type, path: str) -> Any:
        """A dataclass from its node."""
        if not isinstance(node, Mapping):
            return self.note(path, f"must be a group of settings (with a _target_), not {_show(node)}")
        cls = self._target(node, expected, path)
        if isinstance(cls, _Invalid):
            return INVALID
        hints = typing.get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        values: dict[str, Any] = {}
        for key, value in node.items():
            if key == "_target_":
                continue
            here = _join(path, str(key))
            if key not in fields:
                self.note(here, _unknown(str(key), fields, cls, path))
                continue
            values[str(key)] = self.value(value, hints[str(key)], here)
        for name, field in fields.items():
            if _required(field) and name not in values:
                values[name] = self.note(_join(path, name), "is required and is not set")
        # What did not convert has been told; the rules of the rest are still worth telling in the same answer.
        known = {name: value for name, value in values.items() if value is not INVALID}
        if any(_required(fields[name]) for name in values if name not in known):
            return INVALID
        try:
            built = cls(**known)
        except SettingError as error:
            for setting, sentence in error.problems:
                if setting not in values or setting in known:
                    self.note(_join(path, setting), sentence)
            return INVALID
        return built if len(known) == len(values) else INVALID

    def _target(self, node: Mapping[str, Any], expected: type, path: str) -> type | _Invalid:
        """The class to build: what `_target_` names, or the class the field expects."""
        target = node.get("_target_")
        here = _join(path, "_target_")
        if target is None and _is_abstract(expected):
            return self.note(here, f"is required: which kind of {expected.__name__}, as the files of conf/ say it")
        if target is None:
            return expected
        if not isinstance(target, str) or not may_be_named(target, ALLOWED_PREFIX):
            # Before any import: importing is already running somebody's code.
            sentence = f"{_show(target)} is not one of ours: a _target_ starts with {ALLOWED_PREFIX!r}"
            return self.note(here, f"{sentence}, or with a module of yours that {OPTION} names on the command line")
        module_name, _, name = target.rpartition(".")
        try:
            module = importlib.import_module(module_name)
        except (ModuleNotFoundError, ValueError, TypeError):  # the latter of names with empty parts
            return self.note(here, f"there is no module '{module_name}'")
        cls = getattr(module, name, None)
        if not isinstance(cls, type) or not dataclasses.is_dataclass(cls) or not issubclass(cls, expected):
            ours = [
                key
                for key, value in vars(module).items()
                if isinstance(value, type) and issubclass(value, expected) and dataclasses.is_dataclass(value)
            ]
            advice = f"; {offer(name, ours, 'there are')}" if ours else ""
            return self.note(here, f"'{target}' is not a {expected.__name__}{advice}")
        if _is_abstract(cls):
            return self.note(here, f"'{target}' is what the kinds of {expected.__name__} have in common; name one")
        return cls

    def value(self, value: Any, hint: Any, path: str) -> Any:
        """A field's value, converted to its type."""
        if isinstance(value, str) and value == MISSING:
            return self.note(path, f"is required: give it, for example {path}=...")
        arguments = typing.get_args(hint)
        if typing.get_origin(hint) is dict and _is_component(arguments[1]):
            if not isinstance(value, Mapping):
                return self.note(path, f"must be a group of settings, not {_show(value)}")
            inside = {
                str(key): self.component(item, arguments[1], _join(path, str(key))) for key, item in value.items()
            }
            return INVALID if INVALID in inside.values() else inside
        for component in arguments or (hint,):
            if _is_component(component) and value is not None:
                return self.component(value, component, path)
        try:
            return _convert(value, hint)
        except _Wrong as wrong:
            return self.note(path, f"must be {wrong}, not {_show(value)}")


def _convert(value: Any, hint: Any) -> Any:
    """`value` as `hint`, losing nothing: 3.5 is no int, and a word is no number."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments)
    if origin is Literal:
        if value in arguments and not isinstance(value, bool):
            return value
        close = nearest(str(value), [str(argument) for argument in arguments])
        hinted = f" (did you mean '{close}'?)" if close else ""
        raise _Wrong(f"one of {', '.join(str(argument) for argument in arguments)}{hinted}")
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise _Wrong("a list")
        return origin(_convert(item, arguments[0]) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _Wrong("a group of settings")
        return {_convert(key, arguments[0]): _convert(item, arguments[1]) for key, item in value.items()}
    if hint is type(None):
        if value is None:
            return None
        raise _Wrong("null")
    return _convert_scalar(value, hint)


def _convert_union(value: Any, hints: tuple[Any, ...]) -> Any:
    # The value's own type first: in `str | list[str]` a list stays one, in `int | str` a word does.
    for hint in hints:
        if type(value) is (typing.get_origin(hint) or hint):
            return _convert(value, hint)
    reasons = []
    for hint in hints:
        try:
            return _convert(value, hint)
        except _Wrong as wrong:
            reasons.append(str(wrong))
    raise _Wrong(" or ".join(reasons))


def _convert_scalar(value: Any, hint: type) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise _Wrong("true or false")
    if hint is str:
        if isinstance(value, str) and "\0" in value:
            raise _Wrong("text without zero bytes")
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
        raise _Wrong("text")
    if hint in (int, float):
        kind = "a whole number" if hint is int else "a number"
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _Wrong(kind)
        try:
            number = float(value)
            if hint is float:
                return number
            if math.isfinite(number) and number == int(number):
                return int(value)
        except ValueError:
            pass  # a word: said below, like a fraction
        raise _Wrong(kind)
    raise TypeError(f"a setting cannot be a {hint}")  # a mistake in our dataclasses, not the user's


def _unknown(key: str, fields: Collection[str], cls: type, path: str) -> str:
    """The sentence for a key that `cls` has no field for."""
    if path:
        advice = offer(key, fields, "its settings") if fields else "it has none"
        return f"{cls.__name__} has no such setting; {advice}"
    inside = _settings_of_groups(cls)
    close = key if key in inside else nearest(key, fields) or nearest(key, inside)
    if close is None:
        return f"there is no such setting; the settings at the top: {', '.join(sorted(fields))}"
    return f"there is no such setting; did you mean '{inside.get(close, close)}'?"


def _settings_of_groups(cls: type) -> dict[str, str]:
    """The groups' settings with their paths: people type `learning_rate` for `training.learning_rate`."""
    groups = {name: hint for name, hint in typing.get_type_hints(cls).items() if dataclasses.is_dataclass(hint)}
    paths = {
        field.name: f"{name}.{field.name}" for name, hint in groups.items() for field in dataclasses.fields(hint)
    }
    if "training" in groups:  # the group people mean when a name is in two
        paths |= {field.name: f"training.{field.name}" for field in dataclasses.fields(groups["training"])}
    return paths


def _is_abstract(cls: type) -> bool:
    """Whether a class leaves a method to its subclasses."""
    methods = (getattr(cls, name) for name in dir(cls) if not name.startswith("__"))
    return any("NotImplementedError" in method.__code__.co_names for method in methods if inspect.isfunction(method))


def _is_component(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _show(value: Any) -> str:
    text = repr(value) if not isinstance(value, Mapping) else "a group of settings"
    return text if len(text) <= 60 else text[:57] + "..."
