"""compare RUN RUN... [to=FOLDER] [mlflow=true]: what differs in the configs, the results, the curves, and a verdict.

RUN is a run's folder, its id in MLflow, a sweep's folder (its jobs) or a wildcard. The verdict is from the stored
predictions: paired bootstrap intervals, McNemar's test for classes, intervals across seeds where there are three or
more, Holm's correction across many. Leaves compare.md and compare.png in FOLDER, by default outputs/compare/<time>,
and in MLflow where all runs are of one store: with the sweep whose jobs they are, else as a run of its own tagged
kind=comparison; mlflow=false leaves nothing there.

    python -m llama_experiments compare outputs/2026-11-25/*-sentiment-embedded-full
    python -m llama_experiments compare RUN RUN to=tables
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from llama_experiments.errors import UserError
from llama_experiments.paths import not_writable, show

SETTINGS = ("to=", "tracker.uri=", "mlflow=")


def run(arguments: list[str]) -> int:
    """Compare, write, and say so."""
    from llama_experiments.comparison.compared import comparable, find_runs
    from llama_experiments.comparison.recorded import Recorder
    from llama_experiments.comparison.report import Comparison
    from llama_experiments.files import write_text
    from llama_experiments.sweeps.ladder import aligned

    settings = dict(word.split("=", 1) for word in arguments if word.startswith(SETTINGS))
    words = [word for word in arguments if not word.startswith(SETTINGS)]
    if settings.get("mlflow", "true") not in ("true", "false"):
        raise UserError(f"mlflow: must be true or false, not '{settings['mlflow']}'")
    if not words:
        raise UserError("compare needs runs: folders, ids in MLflow, a sweep's folder, or a wildcard")
    folder = Path(settings.get("to") or Path("outputs", "compare", f"{datetime.now():%Y-%m-%d_%H-%M-%S}"))
    if (unusable := not_writable(folder)) is not None:
        raise UserError(f"to: {unusable}")
    runs, others = comparable(find_runs(words, settings.get("tracker.uri")))
    in_mlflow = settings.get("mlflow", "true") == "true"
    recorder = Recorder([one.run.folder for one in runs] if in_mlflow else [])
    comparison = Comparison.of(runs, others)
    print("\n".join([*aligned(comparison.table()), "", *comparison.verdict, *others]), flush=True)

    from llama_experiments.comparison.plots import plot_comparison

    folder.mkdir(parents=True, exist_ok=True)
    plot_comparison(comparison, folder / "compare.png")
    write_text(folder / "compare.md", comparison.markdown())
    print(f"\ncompare.md and compare.png are in  {show(folder)}")
    if said := recorder.record(comparison.markdown(), [folder / "compare.md", folder / "compare.png"]):
        print(said)
    return 0
