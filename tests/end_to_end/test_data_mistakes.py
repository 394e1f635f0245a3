"""What is wrong with people's data: told in a sentence with exit status 2, or counted and left out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sentences, write_table
from tests.end_to_end.conftest import COMMAND_LINE, Refused


def bad_files(folder: Path) -> None:
    """Data as people have it."""
    rows = sentences(12)
    for name, content in {
        "empty.csv": b"",
        "header.csv": b"text,label\n",
        "binary.csv": bytes(range(256)),
        "latin.csv": "text,label\nbon,a\ntrès bon,b\n".encode("latin-1"),
        "suffix.xyz": b"text,label\na,b\n",
        "column.csv": b"sentence,label\na,x\nb,y\n",
        "long.csv": b"text,label\ngood,a\nbad,b,c,d\n",
        "short.csv": b"text,label\ngood,a\nbad\nok,b\n",
        "quote.csv": b'text,label\n"good,a\nbad,b\n',
        "twice.csv": b"text,text\na,b\n",
        "broken.jsonl": b'{"text": "a", "label": "x"}\n{"text": "b",\n',
        "number.jsonl": b'{"text": "a", "label": "x"}\n5\n',
        "numbers.jsonl": b'{"text": 1, "label": "x"}\n{"text": 2, "label": "y"}\n',
        "not.parquet": b"hello, this is not Parquet",
        "wide.csv": "text,label\ngood,a\n".encode("utf-16"),
        "other.jsonl": b'{"sentence": "a", "label": "x"}\n',
        "blank.jsonl": b"\n\n",
        "lists.jsonl": b'{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["y"]}\n',
        "nolabel.jsonl": b'{"text": "a", "label": 1.0}\n{"text": "b", "label": NaN}\n{"text": "c", "label": 0.0}\n',
        "gap.csv": b"text,label\ngood,positive\nbad,\n",
        "three.csv": b"text,label\na,0\nb,1\nc,2\n",
        "same.csv": b"text,label\nThe  Same,a\nthe same,b\n",
        "cut.csv.gz": gzip.compress(b"text,label\n" + b"a,b\n" * 1000)[:40],
    }.items():
        (folder / name).write_bytes(content)
    write_table(folder / "outside.csv", [*rows, ("odd one", "neutral")])
    write_table(folder / "one.csv", [(text, "positive") for text, _ in rows])
    write_table(folder / "blank.csv", [("", "positive"), ("  ", "negative")])
    (folder / "folder").mkdir()
    (folder / "splits" / "train").mkdir(parents=True)
    for name in ("dataset_dict.json", "train/state.json", "train/dataset_info.json"):
        (folder / "splits" / name).write_text("{}")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("train=trian.csv", ["dataset.train: no file trian.csv; did you mean 'train.csv'?", COMMAND_LINE]),
        ("train=nothere/x.csv", ["there is no folder nothere"]),
        ("train=folder", ["folder is a folder where a file belongs"]),
        ("train=*.tsv", ["dataset.train: no file matches *.tsv"]),
        ("train=[]", ["dataset.train: names no file"]),
        ("train=empty.csv", ["dataset.train: empty.csv is empty"]),
        ("train=header.csv", ["dataset.train: header.csv has a header but no rows"]),
        ("train=binary.csv", ["binary.csv is a binary file"]),
        ("train=latin.csv", ["latin.csv is not UTF-8 (line 3, byte 0xe8)", "iconv"]),
        ("train=suffix.xyz", ["suffix.xyz has a suffix that says no format", "dataset.format"]),
        ("train=column.csv", ["dataset.columns.text: there is no column 'text'", "it has: sentence, label"]),
        ("train=long.csv", ["long.csv: line 3 has 4 fields, but the header has 2"]),
        ("train=short.csv", ["row 2 of short.csv has no label"]),
        ("train=quote.csv", ["quote.csv: the row that begins in line 2 does not end"]),
        ("train=twice.csv", ["two columns have the same name"]),
        ("train=broken.jsonl", ["broken.jsonl: line 2 is not JSON"]),
        ("train=number.jsonl", ["number.jsonl: line 2 is not an object"]),
        ("train=numbers.jsonl", ["text is int64, not text"]),
        ("train=not.parquet", ["not.parquet is not a Parquet file"]),
        ("train=cut.csv.gz", ["cut.csv.gz is not a whole gzip file"]),
        ("train=[train.csv,broken.jsonl]", ["files of different formats: csv, json"]),
        ("train=[train.csv,column.csv]", ["column.csv has the columns sentence, label, but train.csv has text"]),
        ("train=one.csv", ["only one class occurs in one.csv ('positive')"]),
        ("train=blank.csv", ["no row of blank.csv can be used (2 with an empty text)"]),
        ("validation=outside.csv", ["dataset.validation: row 13 of outside.csv has the label 'neutral'", "positive"]),
        ("labels=[good,bad]", ["row 1 of train.csv has the label 'negative'", "dataset.labels"]),
        ("labels=[good]", ["dataset.labels: must be null or two or more different names", COMMAND_LINE]),
        ("train=wide.csv", ["wide.csv is UTF-16, not UTF-8", "iconv -f utf-16"]),
        ("train=[broken.jsonl,other.jsonl]", ["other.jsonl has the columns sentence, label, but broken.jsonl has"]),
        ("train=blank.jsonl", ["blank.jsonl: there are no rows in it"]),
        ("train=lists.jsonl", ["the labels of lists.jsonl are lists or groups"]),
        ("train=nolabel.jsonl", ["row 2 of nolabel.jsonl has no label"]),
        ("validation=gap.csv", ["dataset.validation: row 2 of gap.csv has no label"]),
        ("train=three.csv dataset.labels=[bad,good]", ["row 3 of three.csv has the label '2', which is none of bad"]),
        ("train=splits", ["splits holds several splits; give one of their folders: splits/train"]),
        ("train=splits/train", ["splits/train cannot be read as a saved data set"]),
        ("train=same.csv dataset.validation=null", ["same.csv: nothing can be held out for validation"]),
        ("test=nothere.csv", ["dataset.test: no file nothere.csv", COMMAND_LINE]),
        ("test=outside.csv", ["dataset.test: row 13 of outside.csv has the label 'neutral'"]),
        ("validation_share=1", ["dataset.validation_share: must be between 0 and 1, not 1"]),
        ("columns.text=sentence", ["there is no column 'sentence' in train.csv; it has: text, label"]),
    ],
)  # fmt: skip
def test_a_mistake_in_the_data(
    argument: str, words: list[str], refused: Refused, local_run: list[str], tmp_path: Path
) -> None:
    bad_files(tmp_path)
    said = refused(*local_run, *f"dataset.{argument}".split())
    for word in words:
        assert word in said


def test_values_that_are_no_text_are_counted_and_left_out(
    run: Callable[..., int], local_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever types a column holds, its texts are used; here a part of them is held out for validation."""
    rows = [json.dumps({"text": text, "label": label}) for text, label in sentences(12)]
    rows += ['{"text": null, "label": "bad"}', '{"text": NaN, "label": "bad"}', '{"text": "  "}', '{"label": "bad"}']
    rows += ['{"text": 5, "label": "bad"}', '{"text": ["a"], "label": 1}']
    (tmp_path / "some.jsonl").write_text("\n".join(rows))
    assert run(*local_run, "dataset.train=some.jsonl", "dataset.validation=null", "training.save_model=none") == 0
    header = capsys.readouterr().out
    assert "10 rows of some.jsonl, all but the 10% held out" in header
    assert "2 rows of some.jsonl, the 10% held out" in header
    assert header.count("left out: 4 with an empty text, 2 with a value that is no text\n") == 1


def test_rows_longer_than_max_length_are_cut_and_used(
    run: Callable[..., int], local_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of five megabytes among them."""
    write_table(tmp_path / "long.csv", [*sentences(12), ("warm and lovely " * 330_000, "positive")])
    assert run(*local_run, "dataset.train=long.csv", "task.max_length=4", "training.save_model=none") == 0
    assert "13 rows of long.csv, 52 tokens" in capsys.readouterr().out


def squad(*questions: dict[str, Any], context: str = "The kettle sang in the old kitchen.") -> str:
    """SQuAD's JSON with one paragraph."""
    return json.dumps({"version": "1.1", "data": [{"paragraphs": [{"context": context, "qas": [*questions]}]}]})


def asked(number: int, **others: Any) -> dict[str, Any]:
    return {
        "id": f"q{number}",
        "question": f"What sang at {number}?",
        "answers": [{"text": "kettle", "answer_start": 4}],
    } | others


@pytest.fixture
def question_run(local_run: list[str], tmp_path: Path) -> list[str]:
    """Overrides of a run of question answering."""
    (tmp_path / "good.json").write_text(squad(*map(asked, range(4))))
    others = ["task=question_answering", "dataset=local_squad", "dataset.validation=good.json", "task.max_length=60"]
    model = [setting for setting in local_run if setting.startswith(("model", "training"))]
    return [*model, *others, "task.stride=8", "training.save_model=none"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"data": [', ["bad.json is not JSON", "line 1"]),
        ("[]", ["bad.json is not laid out as SQuAD is: the top has no list 'data'", "local_question_answering"]),
        ('{"data": [{"context": "c"}]}', ["data[0] has no list 'paragraphs'"]),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', ["data[0].paragraphs[0] has no text 'context'"]),
        (squad({"id": "1"}), ["data[0].paragraphs[0].qas[0] has no text 'question'"]),
        (squad(asked(1, answers="kettle")), ["qas[0] has no list 'answers'"]),
        (squad(asked(1, answers=[{"text": "kettle"}])), ["answers[0] has no whole number 'answer_start'"]),
        ('{"data": []}', ["bad.json: there are no questions in it"]),
        (squad(asked(1, answers=[])), ["no row of bad.json can be used (1 with no answers)"]),
        (
            squad(asked(1, question="sang " * 90)),
            ["no row of bad.json makes an example", "too long for task.max_length=60"],
        ),
        (squad(asked(1), asked(2)), ["nothing can be held out for validation, since all its rows belong together"]),
    ],
)
def test_a_mistake_in_squads_json(
    content: str, words: list[str], refused: Refused, question_run: list[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text(content)
    validation = "null" if "held out" in words[0] else "good.json"
    said = refused(*question_run, "dataset.train=bad.json", f"dataset.validation={validation}")
    for word in words:
        assert word in said


def test_squads_json_given_as_rows_is_told_what_it_is(refused: Refused, question_run: list[str]) -> None:
    said = refused(*question_run, "dataset=local_question_answering", "dataset.train=good.json")
    assert "there is no column 'question' in good.json" in said
    assert "SQuAD's own JSON: dataset=local_squad" in said


def test_questions_that_teach_nothing_are_counted_and_left_out(
    run: Callable[..., int], question_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An offset past the end is put right where the answer stands once, and is of no use where it stands nowhere."""
    questions = [
        asked(1),
        asked(2, answers=[]),
        asked(3, answers=[{"text": "kettle", "answer_start": 5_000}]),
        asked(4, answers=[{"text": "teapot", "answer_start": 5_000}]),
        asked(5, answers=[{"text": "kettle", "answer_start": -9}]),
        asked(6, question=" "),
    ]
    (tmp_path / "some.json").write_text(squad(*questions))
    assert run(*question_run, "dataset.train=some.json") == 0
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("training "))
    assert "3 rows of some.json" in header
    for counted in (
        "1 with no answers",
        "1 with an answer that does not stand in its context",
        "1 with an empty question",
    ):
        assert counted in header


@pytest.fixture
def of_the_hub(run: Callable[..., int], tmp_path: Path) -> Callable[[str], Path]:
    """A folder that `datasets` takes for the Hub's `owner/<name>`, downloaded before."""

    def make(name: str) -> Path:
        (tmp_path.parent / "huggingface" / "hub" / f"datasets--owner--{name}" / "snapshots").mkdir(
            parents=True, exist_ok=True
        )
        (tmp_path / "owner" / name).mkdir(parents=True)
        return tmp_path / "owner" / name

    return make


def test_a_data_set_of_the_hub_that_is_a_script(
    refused: Refused, of_the_hub: Callable[[str], Path], local_run: list[str], tmp_path: Path
) -> None:
    (of_the_hub("old") / "old.py").write_text("open('pwned', 'w')\n")
    said = refused(*local_run[:3], "task.max_length=48", "dataset=imdb", "dataset.name=owner/old")
    assert "dataset.name: 'owner/old' is a program (a loading script)" in said
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("config=gone", ["dataset.config: owner/new, configuration gone", "Available: ['default']"]),
        ("train=gone", ["dataset.train: owner/new, split gone", "train"]),
    ],
)
def test_a_configuration_or_split_of_the_hub_that_is_gone(
    setting: str, words: list[str], refused: Refused, of_the_hub: Callable[[str], Path], local_run: list[str]
) -> None:
    write_table(of_the_hub("new") / "train.csv", [*sentences(4)])
    said = refused(
        *local_run[:3], "task.max_length=48", "dataset=imdb", "dataset.name=owner/new", f"dataset.{setting}"
    )
    for word in words:
        assert word in said
