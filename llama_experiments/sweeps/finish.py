"""The end of a sweep: what its jobs say together, on the terminal, in its folder and in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llama_experiments.files import write_text
from llama_experiments.paths import show
from llama_experiments.runs.ui import PAGE, losses_link
from llama_experiments.sweeps.base import Job, Sweep, read_jobs
from llama_experiments.sweeps.home import Home
from llama_experiments.sweeps.winner import chosen, on_test_rows

MOST_DRAWN = 50  # jobs in a link, which a browser takes up to some length of


def finish(home: Home, sweep: Sweep, state: str, reason: str) -> None:
    """Write the report, close the sweep's run, and say where everything is."""
    folder = home.folder
    jobs, missing = read_jobs(folder)
    lines = sweep.report(folder, jobs, missing) if jobs else []
    if state != "stopped" and (winner := chosen(jobs)) is not None and (tested := on_test_rows(winner)):
        lines += [f"{winner.folder.name}: {line}" for line in tested]
        report = folder / "test.md"
        write_text(report, "\n".join(["# The best job on the test rows", "", *lines[-len(tested) :]]) + "\n")
    ids = home.children()
    note, kept = reports(folder)
    home.close(state, reason, note or reason, kept, best_tags(jobs, ids))
    print("\n".join(["", *lines, f"everything is in  {show(folder)}"]), flush=True)
    known = [ids[where] for job in jobs if (where := str(job.folder.path.resolve())) in ids]
    if known and home.experiment_id is not None:
        serves = home.opened_by.startswith("http")
        when = "" if serves else f", while `{home.opened_by}` runs"
        print(f"both losses of {_how_many(known)} against epochs{when}:")
        page = home.opened_by.rstrip("/") if serves else PAGE
        print(f"  {losses_link(page, home.experiment_id, known[:MOST_DRAWN])}", flush=True)
    if home.warning:
        print(home.warning, flush=True)


def best_tags(jobs: Sequence[Job], ids: Mapping[str, str]) -> dict[str, str]:
    """The best job, as the sweep's tags in MLflow; `ids` are of its runs, by their folders."""
    winner = chosen(jobs)
    if winner is None:
        return {}
    return {
        "best_job": winner.folder.name,
        "best_run_id": ids.get(str(winner.folder.path.resolve()), ""),
        "best_eval_loss": f"{float(winner.result.eval_loss):.6g}",
    }


def reports(folder: Path) -> tuple[str, list[Path]]:
    """A sweep's reports as one text, and the files that go with its run in MLflow."""
    written = sorted(folder.glob("*.md"))
    note = "\n\n".join(report.read_text(encoding="utf-8") for report in written)
    return note, [*written, *sorted(folder.glob("*.png")), folder / "jobs.jsonl", folder / "sweep.json"]


def _how_many(ids: list[str]) -> str:
    return f"all {len(ids)} jobs" if len(ids) <= MOST_DRAWN else f"the first {MOST_DRAWN} jobs"
