"""A run made again: whether every recorded number is the same, and if not, where it first differs and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from llama_experiments.files import read_json
from llama_experiments.runs.saved import SavedRun
from llama_experiments.runs.written import damaged

# Of a step or an epoch, what the mathematics says; seconds and clock times are the machine's.
OF_A_STEP: tuple[str, ...] = ("examples_hash", "loss_sum", "count", "learning_rate", "gradient_norm")
OF_AN_EPOCH: tuple[str, ...] = ("train_loss", "eval_loss", "metrics", "learning_rate")


Record = dict[str, Any]  # a line of a journal


@dataclasses.dataclass(frozen=True)
class Cause:
    """Something that a run's numbers depend on, and that is not as it was."""

    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before}, now {self.after}"


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first recorded number that is not the same."""

    where: str  # step 3, epoch 1, the final weights
    what: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if isinstance(self.before, float) and isinstance(self.after, float):
            return (
                f"{self.where}: {self.what} {self.before!r}, now {self.after!r} (by {self.after - self.before:+.3g})"
            )
        return f"{self.where}: {self.what} {self.before}, now {self.after}"


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """The comparison of a run with its repetition."""

    steps: int  # compared
    epochs: int
    weights: int  # tensors
    difference: Difference | None
    causes: list[Cause]  # the likeliest first

    @property
    def identical(self) -> bool:
        return self.difference is None

    def lines(self) -> list[str]:
        """What a person is told."""
        compared = f"{self.steps:,} steps, {self.epochs:,} epochs and {self.weights:,} tensors compared"
        if self.difference is None:
            lines = [f"identical: {compared}, to the last bit"]
            return lines + [
                f"although not as it was: the {cause}" for cause in self.causes if cause.before != cause.after
            ]
        lines = [f"different from {self.difference}"]
        if self.causes:
            lines += [f"  likely because of the {self.causes[0]}"]
            lines += [f"  also not as it was: the {cause}" for cause in self.causes[1:]]
        else:
            lines += [
                "  versions, code, device, data, starting weights and config are as they were: no cause is known"
            ]
        return lines

    def record(self) -> dict[str, Any]:
        """As `reproduction.json` has it."""
        return {"identical": self.identical, **dataclasses.asdict(self)}


def check_recorded(run: SavedRun) -> None:
    """Whether a run's records can be compared with anything: known before it is run again.

    Raises:
        UserError: a file is missing or damaged.
    """
    run.steps(), run.epochs(), _tensors(run)


def compare_with(old: SavedRun, new: SavedRun, config_changes: Mapping[str, tuple[Any, Any]]) -> Reproduction:
    """Compare a run with its repetition, as far as the older one came.

    Args:
        config_changes: settings that were given another value, with both.
    """
    steps, epochs = _pairs(old.steps(), new.steps()), _pairs(old.epochs(), new.epochs())
    before, after = _tensors(old), _tensors(new)
    found = next(_differences(steps, epochs, before, after), None)
    causes = [Cause(f"setting {key}", str(was), str(now)) for key, (was, now) in config_changes.items()]
    causes += list(causes_between(old.environment(), new.environment()))
    return Reproduction(len(steps), len(epochs), len(before), found, causes)


def _pairs(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[tuple[Record, Record | None]]:
    """Each old record with the new one in its place; None where the repetition was shorter."""
    return [(record, new[place] if place < len(new) else None) for place, record in enumerate(old)]


def _differences(
    steps: list[tuple[Record, Record | None]],
    epochs: list[tuple[Record, Record | None]],
    before: dict[str, str],
    after: dict[str, str],
) -> Iterator[Difference]:
    """In the order of what happened: an epoch comes after its steps."""
    happened = [(old["epoch"], 0, "step", OF_A_STEP, old, new) for old, new in steps]
    happened += [(old["epoch"], 1, "epoch", OF_AN_EPOCH, old, new) for old, new in epochs]
    for *_, kind, keys, old, new in sorted(happened, key=lambda item: item[:2]):
        if new is None:
            yield Difference(f"{kind} {old[kind]}", "which was recorded", "there", "not there")
            continue
        for key in keys:
            if old.get(key) != new.get(key):
                yield Difference(f"{kind} {old[kind]}", key, old.get(key), new.get(key))
    for name, hashed in before.items():
        if after.get(name) != hashed:
            yield Difference("the final weights", name, hashed, after.get(name))


def _tensors(run: SavedRun) -> dict[str, str]:
    """The final weights, a hash a tensor; empty of a run that did not come to its end."""
    file = run.folder.movement
    if not file.exists():
        return {}
    told = read_json(file)
    try:
        return {name: str(tensor["after"]) for name, tensor in told.items()}
    except (KeyError, TypeError) as error:
        raise damaged(file, "it does not list tensors with their hashes") from error


def causes_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    """What is not as it was, the likeliest first."""
    for part, told in old["data"].items():
        now = new["data"].get(part)
        if now is None or told["hash"] != now["hash"]:
            yield Cause(f"{part} data", _data(told), _data(now) if now else "none")
    weights = [env["model"]["starting_weights_hash"] for env in (old, new)]
    if weights[0] != weights[1]:
        yield Cause("starting weights", weights[0][:12], weights[1][:12])
    if old["git"] != new["git"]:
        yield Cause("code", _code(old["git"]), _code(new["git"]))
    elif new["git"] and new["git"]["changed"]:
        yield Cause("code", "with changes", "with changes")  # which may be others
    for package, version in old["versions"].items():
        if version != new["versions"].get(package):
            yield Cause(f"version of {package}", str(version), str(new["versions"].get(package)))
    for key, value in old["device"].items():
        if value != new["device"].get(key):
            yield Cause(_DEVICE.get(key, f"device's {key}"), str(value), str(new["device"].get(key)))


_DEVICE = {"threads": "number of threads", "processes": "number of processes", "precision": "precision"}


def _data(told: Mapping[str, Any]) -> str:
    return f"{told['rows']:,} rows of {told['source']} ({told['hash'][:12]})"


def _code(git: Mapping[str, Any] | None) -> str:
    if git is None:
        return "no checkout"
    return str(git["commit"])[:12] + (" with changes" if git["changed"] else "")
