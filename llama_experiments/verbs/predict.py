"""predict RUN --input FILE|- [--output FILE] [--format csv|jsonl|text] [overrides]: what its model says of new rows.

FILE is CSV, TSV, JSONL (an object a line), Parquet or text (a row a line), gzipped or not; '-' is the standard input,
whose first line tells what it is. A row needs the columns that the run read: `text` for classes, `question` and
`context` for answers, `text`, `prompt` or `messages` for what is to be continued, or what `dataset.columns` calls
them. The rows come back with `prediction` and, for classes, the probabilities beside it, as they are done; without
--output on the standard output, in the input's format. As text they are the predictions alone, a line each, and what
a model writes after a prompt is shown as it is written.

    python -m llama_experiments predict RUN --input reviews.csv --output predicted.csv
    echo 'A lovely film.' | python -m llama_experiments predict RUN --input -
    echo 'Once upon a time' | python -m llama_experiments predict RUN --input - task.sample_temperature=0
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from llama_experiments.errors import UserError
from llama_experiments.paths import not_writable, show
from llama_experiments.prediction import inputs, outputs
from llama_experiments.verbs.evaluate import replay


def run(arguments: list[str]) -> int:
    """Read, predict, write."""
    from llama_experiments.prediction.stream import Stream

    options = _options(arguments)
    replayed = replay(options.run, options.overrides, options.tracker, "predict")
    names = {
        column: replayed.experiment.dataset.columns.get(column, column) for column in replayed.experiment.task.asked
    }
    _check_output(options)
    read_as, rows = inputs.open_rows(options.input, options.input_format, list(names.values()))
    stream = Stream(rows, names, where="the standard input" if options.input == "-" else options.input)
    written_as = _format(options, read_as)
    waits = options.input == "-"
    with outputs.opened(options.output) as file:
        stream.predict(replayed, file, written_as, waits=waits, shows=options.output is None)
    if options.output is not None:
        print(f"{stream.rows:,} rows are in  {show(Path(options.output))}")
    for why, lines in stream.left_out.items():
        shown = ", ".join(map(str, lines.lines)) + (", ..." if lines.count > len(lines.lines) else "")
        print(f"no prediction ({why}): {lines.count:,} of the rows, line {shown}", file=sys.stderr)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line.

    Raises:
        UserError: something that predict does not have.
    """
    from llama_experiments.runs.saved import is_run

    parser = argparse.ArgumentParser(prog="predict", add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--input")
    parser.add_argument("--output")
    parser.add_argument("--format", choices=("auto", *outputs.FORMATS), default="auto")
    parser.add_argument("--input-format", choices=("auto", *inputs.FORMATS), default="auto")

    def refuse(message: str) -> NoReturn:
        raise UserError(f"predict: {message}; `predict --help` tells how it is called")

    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_intermixed_args(list(arguments))
    runs = [word for word in options.words if is_run(word)]
    if len(runs) != 1 or not options.input:
        raise UserError("predict takes one run and --input FILE (or - for the standard input)")
    options.run = runs[0]
    options.tracker = next((w.partition("=")[2] for w in options.words if w.startswith("tracker.uri=")), None)
    options.overrides = [w for w in options.words if w not in runs and not w.startswith("tracker.uri=")]
    return options


def _check_output(options: argparse.Namespace) -> None:
    """Raises UserError where the output file cannot be written, before anything slow starts."""
    if options.output is None:
        return
    output = Path(options.output).expanduser()
    if output.is_dir():
        raise UserError(f"--output: {output} is a folder; give a file")
    if (unusable := not_writable(output.parent)) is not None:
        raise UserError(f"--output: {unusable}")
    if options.input != "-" and output.exists() and output.samefile(Path(options.input).expanduser()):
        raise UserError(f"--output: {output} is the input; give another file")
    if options.format == "auto" and output.suffix.lower() not in outputs.SUFFIXES:
        raise UserError(
            f"--output: {output.name} has a suffix that says no format; say it with --format "
            f"({', '.join(outputs.FORMATS)})"
        )


def _format(options: argparse.Namespace, read_as: str) -> str:
    """How rows are written: as said, by the file's suffix, or like the input."""
    if options.format != "auto":
        return str(options.format)
    if options.output is not None:
        return outputs.SUFFIXES[Path(options.output).suffix.lower()]
    return {"json": "jsonl", "parquet": "jsonl"}.get(read_as, read_as)
