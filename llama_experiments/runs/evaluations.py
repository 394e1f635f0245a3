"""A later evaluation of a run's model: beside what the run recorded, and kept in the run's folder."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.files import replaced_folder
from llama_experiments.runs.predictions import write_predictions
from llama_experiments.runs.saved import SavedRun

if TYPE_CHECKING:
    from llama_experiments.data.rows import Rows
    from llama_experiments.runs.trained import Replayed, Trained
    from llama_experiments.training.evaluation import Evaluation


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What the run itself recorded of the same weights."""

    part: str
    epoch: int
    loss: float
    metrics: dict[str, float]

    @classmethod
    def of(cls, run: SavedRun, part: str) -> Recorded | None:
        """Of the part, else of the validation part; None where the run came to no evaluation."""
        result = run.result()
        if part == "test" and run.folder.test.exists():
            told = json.loads(run.folder.test.read_text(encoding="utf-8"))
            return cls("test", told["epoch"], float(told["test_loss"]), _numbers(told["metrics"]))
        if result is not None:
            return cls("validation", result.epoch, float(result.eval_loss), _numbers(result.metrics))
        # It did not come to its end; its saved weights are those of the best epoch since training began.
        done = (
            [epoch for epoch in run.epochs() if epoch["eval_loss"] is not None] if run.folder.epochs.exists() else []
        )
        trained = [epoch for epoch in done if epoch["epoch"] > 0]
        best = min(trained, key=lambda epoch: float(epoch["eval_loss"]), default=None)
        if best is None:
            return None
        return cls("validation", best["epoch"], float(best["eval_loss"]), _numbers(best["metrics"]))


@dataclasses.dataclass(frozen=True)
class Later:
    """An evaluation, and what there is to compare it with."""

    part: str
    rows: Rows
    evaluation: Evaluation
    recorded: Recorded | None
    same_rows: bool  # as the recorded numbers are of
    item: str
    causes: list[str]  # what is not as it was when the run recorded its numbers

    @property
    def differences(self) -> dict[str, tuple[float, float | None]]:
        """The recorded numbers that are not the same now, to the last bit."""
        assert self.recorded is not None
        now = {"loss": self.evaluation.loss, **self.evaluation.metrics}
        before = {"loss": self.recorded.loss, **self.recorded.metrics}
        return {name: (value, now.get(name)) for name, value in before.items() if not _same(value, now.get(name))}

    def lines(self) -> list[str]:
        """The numbers in a table, and whether they are the run's own."""
        now = {"loss": self.evaluation.loss, **self.evaluation.metrics}
        table = [["", "now"], *([name.replace("_", " "), f"{value:.4f}"] for name, value in now.items())]
        if self.recorded is not None:
            before = {"loss": self.recorded.loss, **self.recorded.metrics}
            table[0].insert(1, f"run's {self.recorded.part}")
            for row, name in zip(table[1:], now, strict=True):
                row.insert(1, f"{before[name]:.4f}" if name in before else "--")
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            f"{name:<{widths[0]}}" + "".join(f"  {n:>{w}}" for n, w in zip(numbers, widths[1:], strict=True))
            for name, *numbers in table
        ]
        return [*lines, "", *self.verdict()]

    def verdict(self) -> Iterator[str]:
        """Whether these are the numbers that the run recorded."""
        if self.recorded is None:
            yield "the run recorded no evaluation of these weights"
        elif not self.same_rows:
            yield "other rows than the run recorded its numbers of, so these are beside each other, not compared"
        elif not self.differences:
            told = f"loss and {len(self.recorded.metrics)} metrics, to the last bit"
            yield f"as the run recorded it after epoch {self.recorded.epoch}: {told}"
        else:
            for name, (before, now) in list(self.differences.items())[:3]:
                by = "" if now is None else f" (by {now - before:+.3g})"
                yield f"not as the run recorded it: {name} {before!r}, now {now!r}{by}"
            if len(self.differences) > 3:
                yield f"and {len(self.differences) - 3} more"
            yield from (f"  not as it was: the {cause}" for cause in self.causes)

    def record(self, settings: Mapping[str, Any], weights: str, environment: Mapping[str, Any]) -> dict[str, Any]:
        """As `result.json` has it."""
        compared = self.recorded is not None and self.same_rows
        return {
            "part": self.part,
            "source": self.rows.where,
            "rows": len(self.rows),
            "rows_hash": self.rows.content_hash,
            "left_out": self.rows.left_out,
            "settings": dict(settings),
            "weights": weights,
            "loss": _word(self.evaluation.loss),
            "item": self.item,
            "items": self.evaluation.count,
            "metrics": {name: _word(value) for name, value in self.evaluation.metrics.items()},
            "recorded": dataclasses.asdict(self.recorded) if self.recorded else None,
            "as_recorded": not self.differences if compared else None,
            "environment": dict(environment),
        }


def evaluate_again(replayed: Replayed, part: str) -> tuple[Later, Trained, Any]:
    """Evaluate a part of the run's data set, or of the one that took its place."""
    from llama_experiments.data.tokenized import encode
    from llama_experiments.training.evaluation import evaluate

    run, experiment = replayed.run, replayed.experiment
    rows = replayed.rows(part)[part]
    trained = replayed.load(hashes=True)
    examples = encode(rows, trained.task, trained.tokenizer, Path(experiment.output_dir) / "cache")
    evaluation = evaluate(
        trained.task_model,
        trained.task,
        examples,
        experiment.training.evaluation_batch_size,
        trained.accelerator,
        packed=trained.packed,
        tokenizer=trained.tokenizer,
    )
    recorded = Recorded.of(run, part)
    told = run.environment()["data"].get(recorded.part if recorded else part)
    same = told is not None and told["hash"] == rows.content_hash
    later = Later(part, rows, evaluation, recorded, same, trained.task.item, list(_causes(replayed, trained)))
    return later, trained, examples


def environment_now(trained: Trained) -> dict[str, Any]:
    """Versions, code and device, as a run's `environment.json` has them."""
    from llama_experiments.runs.environment import describe_device, describe_versions, git_state

    return {
        "versions": describe_versions(),
        "git": git_state(Path(__file__).parent),
        "device": describe_device(trained.accelerator),
    }


def keep(later: Later, trained: Trained, examples: Any, record: Mapping[str, Any], folder: Path) -> Path:
    """Write `result.json`, `predictions.parquet` and what the model wrote into a folder of the evaluation's own.

    The same evaluation again takes the place of the earlier one; another of the same name gets a number.
    """
    place, number = folder, 1
    while place.exists() and not _same_evaluation(place, record):
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    with replaced_folder(place) as beside:
        write_predictions(beside / "predictions.parquet", trained.task, later.evaluation, examples)
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False, default=_word)
        (beside / "result.json").write_text(text + "\n", encoding="utf-8")
        if later.evaluation.samples:
            lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in later.evaluation.samples]
            (beside / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def _same_evaluation(folder: Path, record: Mapping[str, Any]) -> bool:
    try:
        there = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    told = ("part", "rows_hash", "settings", "weights")
    return all(there.get(key) == record[key] for key in told)


def _causes(replayed: Replayed, trained: Trained) -> Iterator[str]:
    """What the numbers depend on and is not as it was: settings, starting weights, versions, code, device."""
    from llama_experiments.config import leaves
    from llama_experiments.runs.reproduction import causes_between

    before = replayed.run.environment()
    settings = [leaves(dataclasses.asdict(one.training)) for one in (replayed.own, replayed.experiment)]
    yield from (
        f"setting training.{key}: {v}, now {settings[1][key]}"
        for key, v in settings[0].items()
        if v != settings[1][key]
    )
    if replayed.own.task != replayed.experiment.task:
        yield "settings of the task"
    model = before["model"]
    if trained.starting_hash is not None:
        model = {**model, "starting_weights_hash": trained.starting_hash}
    now = {**before, "model": model, **environment_now(trained)}
    yield from map(str, causes_between(before, now))


def _same(before: float, now: float | None) -> bool:
    return before == now or (now is not None and math.isnan(before) and math.isnan(now))


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Words for numbers that JSON does not have, as numbers again."""
    return {name: float(value) for name, value in metrics.items()}


def _word(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
