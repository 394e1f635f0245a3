"""evaluate RUN [part=validation] [name=...] [overrides]: a run's model on the run's rows again, or on others.

RUN is a run's folder or its id in MLflow. On the run's own rows it says whether every number is as the run recorded
it, to the last bit. `dataset=...` or `dataset.validation=...` are other rows (out of domain); `part` is validation,
test or train. Leaves result.json and predictions.parquet in RUN/evaluations/NAME; the run's own record stays.

    python -m llama_experiments evaluate outputs/2026-11-25/01-53-31-sentiment-embedded-full
    python -m llama_experiments evaluate RUN part=test
    python -m llama_experiments evaluate RUN dataset=sst2
    python -m llama_experiments evaluate RUN dataset.validation=other.csv dataset.columns.text=review
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from llama_experiments.errors import UserError, offer
from llama_experiments.paths import not_writable, show

if TYPE_CHECKING:
    from llama_experiments.runs.trained import Replayed

PARTS = ("validation", "test", "train")
# What changes neither the weights nor their meaning.
TRAINING = ("training.evaluation_batch_size", "training.precision", "training.layout")
OF_AN_EVALUATION = ("dataset", "task", "model", *TRAINING, "output_dir")
OF_THE_MODEL = ("model.attention", "model.dtype", "model.checkpoint", "model.revision")


def run(arguments: list[str]) -> int:
    """Evaluate, write, and say what came of it."""
    from llama_experiments.runs.saved import is_run

    words = [word for word in arguments if is_run(word)]
    if len(words) != 1:
        raise UserError("evaluate takes one run, and after it overrides written setting=value")
    settings = dict(word.split("=", 1) for word in arguments if word.startswith(("part=", "name=", "tracker.uri=")))
    overrides = [word for word in arguments if word not in words and word.partition("=")[0] not in settings]
    part = settings.get("part", "validation")
    if part not in PARTS:
        raise UserError(f"part: there is no part '{part}'; {offer(part, PARTS, 'parts')}")
    replayed = replay(words[0], overrides, settings.get("tracker.uri"), "evaluate")
    dataset = replayed.experiment.dataset
    if part not in dataset.parts:
        raise UserError(f"part: the data set has no {part} part; it has {', '.join(dataset.parts)}")
    folder = replayed.run.folder
    name = settings.get("name") or _name(part, overrides)
    if not re.fullmatch(r"[\w.,-]+", name) or name.startswith("."):
        raise UserError(f"name: must be the name of a folder (letters, digits, '-', '_'), not '{name}'")
    if (unusable := not_writable(folder.evaluations)) is not None:
        raise UserError(unusable)
    if dataset.needs_hub:
        from llama_experiments.hub import stay_offline_when_unreachable

        stay_offline_when_unreachable()

    from llama_experiments.runs.evaluations import environment_now, evaluate_again, keep

    print(f"weights     {replayed.described()}\nrows        {part}: {dataset.where(part)}", flush=True)
    later, trained, examples = evaluate_again(replayed, part)
    left_out = ", ".join(f"{count:,} left out ({reason})" for reason, count in later.rows.left_out.items())
    print(f"            {len(later.rows):,} rows" + (f", {left_out}" if left_out else ""))
    print("\n".join(["", *later.lines()]), flush=True)
    given = dict(word.split("=", 1) for word in overrides)
    record = later.record(given, replayed.described(), environment_now(trained))
    place = keep(later, trained, examples, record, folder.evaluations / name)
    print(f"\nresult.json and predictions.parquet are in  {show(place)}")
    return 0


def replay(text: str, overrides: Sequence[str], uri: str | None, verb: str) -> Replayed:
    """The run that is meant, with other settings where they leave its weights what they are.

    Raises:
        UserError: no such run, or a setting that an evaluation does not have.
    """
    import os

    from llama_experiments.runs.saved import find_run
    from llama_experiments.runs.trained import Replayed

    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if not _is_of(key, OF_AN_EVALUATION) or (_is_of(key, ["model"]) and key not in OF_THE_MODEL):
            raise UserError(
                f"{key}: {verb} has no such setting, since it changes no weight; it has dataset, dataset.*, "
                f"task.*, {', '.join(OF_THE_MODEL)} and {', '.join(TRAINING)}"
            )
        if key in ("task", "model"):
            raise UserError(f"{key}: the run's {key} stays what it is; its settings are {key}.*")
    run = find_run(text, uri)
    threads = run.environment().get("device", {}).get("threads", 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch is imported
    return Replayed.of(run, overrides)


def _is_of(key: str, settings: Collection[str]) -> bool:
    return any(key == setting or key.startswith(f"{setting}.") for setting in settings)


def _name(part: str, overrides: Sequence[str]) -> str:
    """The part's name; before it, what takes the place of the run's rows."""
    given = dict(word.split("=", 1) for word in overrides)
    source = given.get("dataset") or given.get(f"dataset.{part}")
    if source is None:
        return part
    stem = re.sub(r"[^\w.-]+", "-", source.rstrip("/").rpartition("/")[2]).strip("-.")
    return f"{stem or 'other'}-{part}"
