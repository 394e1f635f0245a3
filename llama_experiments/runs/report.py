"""`report.md`: a run on one page."""

from __future__ import annotations

from typing import Any

from llama_experiments.files import write_text
from llama_experiments.runs.console import number
from llama_experiments.runs.folder import RunFolder


def write_report(
    folder: RunFolder,
    facts: dict[str, str],
    epochs: list[dict[str, Any]],
    saved: int | None,
    overrides: list[str],
) -> str:
    """Write the report from the journal's records; returns its text.

    Args:
        facts: what the header said.
        saved: the epoch whose weights are in `model/` and whose predictions were kept.
        overrides: of the command.
    """
    metrics = list(dict.fromkeys(name for record in epochs for name in record["metrics"]))
    columns = [
        "epoch",
        "training loss",
        "evaluation loss",
        *(name.replace("_", " ") for name in metrics),
        "seconds",
    ]
    lines = [
        f"# {folder.name}",
        "",
        "    python -m llama_experiments " + " ".join(overrides),
        "",
        *(f"- **{name}**: {value}" for name, value in facts.items()),
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---:|' * len(columns)}",
    ]
    for record in epochs:
        cells = [
            str(record["epoch"]),
            "" if record["train_loss"] is None else number(record["train_loss"]),
            "" if record["eval_loss"] is None else number(record["eval_loss"]),
            *(number(record["metrics"].get(name, ""), 4) for name in metrics),
            number(record["seconds"], 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "![losses by epoch](curves.png)"]
    if folder.confusion.exists():
        lines += ["", "![label against prediction](confusion.png)"]
    lines += ["", f"`predictions.parquet` holds the evaluation rows as epoch {saved} predicted them."]
    if folder.model.exists():
        lines += [
            f"`model/` holds epoch {saved}'s weights, for `transformers`' `from_pretrained`.",
        ]
    lines += [
        "",
        "The same run again, from its saved config:",
        "",
        f"    python -m llama_experiments --config-path {folder.hydra.resolve()}",
        "",
    ]
    text = "\n".join(lines)
    write_text(folder.report, text)
    return text
