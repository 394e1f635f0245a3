"""`predict`: the run's own predictions for its rows, as a stream; mistakes in a sentence, and no half file."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, sentences

Run = Callable[..., int]
Said = pytest.CaptureFixture[str]
FEW = ["dataset.train_examples=12", "dataset.validation_examples=6", "training.epochs=1"]


@pytest.fixture
def saved(run: Run, local_run: list[str], tmp_path: Path) -> Path:
    """A run of the tiny model; its validation rows are 24."""
    assert run(*local_run, "hydra.run.dir=first") == 0
    return tmp_path / "first"


def piped(folder: Path, text: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A command with something on its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "llama_experiments", "predict", "first", "--input", "-", *arguments],
        input=text,
        capture_output=True,
        cwd=folder,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_predictions_are_the_runs_own(run: Run, saved: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "id": number} for number, (text, _) in enumerate(sentences(24, start=100))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "in.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "in.txt").write_text("".join(f"{row['text']}\r\n" for row in rows))
    with gzip.open(tmp_path / "in.csv.gz", "wt", newline="") as stream:
        table = csv.DictWriter(stream, ["id", "text"])
        table.writeheader()
        table.writerows(rows)
    own = pq.read_table(saved / "predictions.parquet").to_pylist()
    for source in ("in.parquet", "in.jsonl", "in.json", "in.txt", "in.csv.gz"):
        assert run("predict", "first", "--input", source, "--output", "out.jsonl") == 0
        told = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [row["text"] for row in told] == [row["text"] for row in rows]
        assert [row["prediction"] for row in told] == [row["prediction"] for row in own]
        for name in ("probability", "probability_positive", "probability_negative"):
            assert [row[name] for row in told] == pytest.approx([row[name] for row in own], rel=1e-5)
        if source != "in.txt":
            assert [int(row["id"]) for row in told] == [row["id"] for row in rows]
    assert run("predict", "first", "--input", "in.jsonl", "--output=out.csv", "training.evaluation_batch_size=1") == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        read = [*csv.DictReader(stream)]
    assert list(read[0]) == [
        "text",
        "id",
        "prediction",
        "probability",
        "probability_negative",
        "probability_positive",
    ]
    assert [row["prediction"] for row in read] == [row["prediction"] for row in own]


@pytest.mark.parametrize("technique", ["full", "few_shot"])
@pytest.mark.parametrize("task", ["question_answering", "qa_generative"])
def test_answers_are_the_runs_own(task: str, technique: str, run: Run, tmp_path: Path) -> None:
    assert run(f"task={task}", f"technique={technique}", *FEW, "task.max_length=256", "hydra.run.dir=first") == 0
    own = pq.read_table(tmp_path / "first" / "predictions.parquet").to_pylist()
    file = ROOT / "llama_experiments" / "embedded" / "data" / "passages.validation.json"
    asked = [
        {"question": question["question"], "context": paragraph["context"]}
        for article in json.loads(file.read_text())["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    chosen = [asked[row["row"] - 1] for row in own]
    assert [row["question"] for row in chosen] == [row["question"] for row in own]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    assert run("predict", "first", "--input", "in.jsonl", "--output", "out.jsonl") == 0
    told = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in told] == [row["prediction"] for row in own]


@pytest.mark.parametrize("task", ["text_generation", "text_completion", "chat"])
def test_a_text_is_the_same_in_any_company(task: str, run: Run, tmp_path: Path, capsys: Said) -> None:
    assert run(f"task={task}", "technique=prompt", *FEW, "hydra.run.dir=first") == 0
    prompts = [f"Once there was {thing}" for thing in ("a mill", "an old ferry in the harbour", "a dog")]
    (tmp_path / "in.txt").write_text("\n".join(prompts) + "\n")
    assert run("predict", "first", "--input", "in.txt", "--output", "out.jsonl", "task.sample_tokens=12") == 0
    told = [json.loads(line)["prediction"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(told) == 3
    assert any(text.strip() for text in told)
    capsys.readouterr()
    assert run("predict", "first", "--input", "in.txt", "task.sample_tokens=12") == 0
    shown = capsys.readouterr().out  # as it is written, one after another
    assert shown == "".join(f"{text}\n" for text in told)


def test_a_stream_goes_on_as_it_comes(saved: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llama_experiments", "predict", "first", "--input", "-", "--format", "text"]
    with subprocess.Popen(
        command, stdin=-1, stdout=-1, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in (b"The film was lovely.\n", b"The film was dull.\n", b"\n"):
            process.stdin.write(text)
            process.stdin.flush()
            # Answered before the next line is written, an empty line by an empty one.
            assert process.stdout.readline() in ((b"\n",) if text == b"\n" else (b"positive\n", b"negative\n"))
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_closed_pipe_ends_quietly(saved: Path, tmp_path: Path) -> None:
    text = tmp_path / "many.txt"
    text.write_text("The film was lovely.\n" * 20_000)
    predict = f"{sys.executable} -m llama_experiments predict first --input many.txt --format text"
    command = f"{predict} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines()[1] == "141"
    assert done.stderr == ""


def test_an_interrupted_one_leaves_no_file(saved: Path, tmp_path: Path) -> None:
    text = tmp_path / "many.txt"
    text.write_text("The film was lovely.\n" * 200_000)
    command = [
        sys.executable,
        "-m",
        "llama_experiments",
        "predict",
        "first",
        "--input",
        "many.txt",
        "--output",
        "o.csv",
    ]
    # Who starts the tests in the background may have told them to ignore it.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=heeds)
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob(".o.csv.*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)  # a library that is being imported may swallow one: a person presses again
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    assert process.wait(60) == 130
    assert not any(path for path in tmp_path.iterdir() if "o.csv" in path.name)


def test_the_standard_input_says_what_it_is(saved: Path, tmp_path: Path) -> None:
    said = piped(tmp_path, b'{"text": "lovely", "n": 1}\n{"text": ""}\n{"text": 3}\n{"text": "\\ud800"}\n')
    assert said.returncode == 0
    told = [json.loads(line) for line in said.stdout.splitlines()]
    assert (told[0]["n"], [row["prediction"] is None for row in told]) == (1, [False, True, True, True])
    reasons = [b"(an empty text): 1 of the rows, line 2", b"(half a character): 1 of the rows, line 4"]
    assert all(reason in said.stderr for reason in reasons)
    assert piped(tmp_path, b'text,n\n"lovely, and\nwarm",7\n').stdout.startswith(b"text,n,prediction")
    empty = piped(tmp_path, b"")
    assert (empty.returncode, empty.stderr.count(b"\n")) == (2, 1)
    assert b"the standard input has no rows" in empty.stderr


WRONG: list[tuple[str, bytes, str]] = [
    ("empty.csv", b"", "empty.csv is empty"),
    ("header.csv", b"text\n", "has no rows"),
    ("columns.csv", b"a,b\n1,2\n", "has no column 'text' in line 2; it has: a, b"),
    ("data.dat", b"hello\n", "a suffix that says no format; say it with --input-format"),
    ("latin.csv", "text\nok\ncafé\n".encode("latin1"), "latin.csv is not UTF-8 (line 3, byte 0xe9)"),
    ("wide.csv", "text\nok\n".encode("utf-16"), "is UTF-16"),
    ("binary.txt", b"a\0b\n", "a zero byte in line 1"),
    ("broken.jsonl", b'{"text": "a"}\n{"text":\n', "line 2 is not JSON: Expecting value"),
    ("number.jsonl", b'{"text": "a"}\n3\n', "line 2 is not an object"),
    ("deep.jsonl", b"[" * 100_000 + b"\n", "is not JSON that can be read"),
    ("missing.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', "has no column 'text' in line 2; it has: txt"),
    ("more.jsonl", b'{"text": "a"}\n{"text": "b", "x": 1}\n', "line 2 has a column 'x'"),
    ("fields.csv", b"text\na\nb,c\n", "line 3 has 2 fields, but the header has 1"),
    ("quote.csv", b'text\n"abc\n', "the row that begins in line 2"),
    ("twice.csv", b"text,text\na,b\n", "two columns have the same name"),
    ("taken.csv", b"text,prediction\na,b\n", "have a column 'prediction' already"),
    (
        "cut.csv.gz",
        gzip.compress(b"text\n" + os.urandom(999).hex().encode() + b"\n")[:200],
        "is not a whole gzip file",
    ),
    ("bad.parquet", b"PAR1....", "bad.parquet is not a whole Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "sentence"), WRONG, ids=[name for name, *_ in WRONG])
def test_what_is_wrong_with_the_input(
    name: str,
    content: bytes,
    sentence: str,
    run: Run,
    saved: Path,
    tmp_path: Path,
    capsys: Said,
) -> None:
    (tmp_path / name).write_bytes(content)
    assert run("predict", "first", "--input", name, "--output", "out.csv") == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not any(path for path in tmp_path.iterdir() if "out.csv" in path.name)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "predict takes one run and --input FILE"),
        (["first"], "predict takes one run and --input FILE"),
        (["first", "--input", "gone.csv"], "no file gone.csv"),
        (["first", "--input", "first"], "first is a folder"),
        (["first", "--input", "validation.csv", "--ouput", "x"], "unrecognized arguments: --ouput"),
        (["first", "--input", "validation.csv", "--format", "xml"], "invalid choice: 'xml'"),
        (["first", "--input", "validation.csv", "--output", "x.xyz"], "say it with --format"),
        (["first", "--input", "validation.csv", "--output", "validation.csv"], "validation.csv is the input"),
        (["first", "--input", "validation.csv", "--output", "first"], "first is a folder"),
        (["first", "--input", "validation.csv", "training.learning_rate=1"], "predict has no such setting"),
    ],
)
def test_what_is_refused(words: list[str], sentence: str, run: Run, saved: Path, capsys: Said) -> None:
    assert run("predict", *words) == 2
    assert sentence in capsys.readouterr().err


def test_datasets_is_not_imported(saved: Path, tmp_path: Path) -> None:
    """Nor what else takes time and has nothing to say here."""
    code = (
        "import sys; from llama_experiments.cli import main; "
        "status = main(['predict', 'first', '--input', 'validation.csv', '--output', 'o.csv']); "
        "assert not {'datasets', 'peft', 'mlflow', 'matplotlib'} & set(sys.modules); sys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False).returncode == 0
