"""Files of every format, read as they are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import pytest

from llama_experiments.data.files import file_problem, read_files
from llama_experiments.errors import UserError

TEXTS = ["NA", 'say "hi", twice', "deux mots à lire", "null"]


def write(path: Path) -> Path:
    """The same rows in the format that the suffix says."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": TEXTS}), path)
        return path
    if name.endswith((".csv", ".tsv")):
        quoted = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
        content = "\n".join(["text", *quoted]) + "\n"
    elif name.endswith(".json"):
        content = json.dumps([{"text": text} for text in TEXTS], ensure_ascii=False)
    elif name.endswith(".jsonl"):
        content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS)
    else:
        content = "\n".join(TEXTS) + "\n"
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "json", "jsonl", "jsonl.gz", "parquet", "txt"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    assert read_files([write(tmp_path / f"rows.{suffix}")], "auto", "line")["text"][:] == TEXTS


def test_several_files_in_order_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext,label\none,1\n")
    (tmp_path / "b.csv").write_bytes(b"text,label\ntwo,2\n")
    table = read_files([tmp_path / "b.csv", tmp_path / "a.csv"], "auto", "line")
    assert table[:] == {"text": ["two", "one"], "label": ["2", "1"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n3,4,5\n", "line 3 has 3 fields, but the header has 2"),
        (b'a,b\n"1\n2",3\n4,5,6\n', "line 4 has 3 fields"),  # a row of two lines before it
        ("a,b\n1\u2028x,2\n3,4,5\n".encode(), "line 3 has 3 fields"),  # what Unicode calls a line break is none here
        (b"a,b\n", "has a header but no rows"),
        (b"a,b\n1,\xff\n", r"is not UTF-8 \(line 2, byte 0xff\)"),
        (b"a,b\n1,\0\n", "is a binary file"),
        (b"a,b\n1,caf\xc3", "ends in the middle of a UTF-8 character"),
    ],
)
def test_what_is_wrong_with_a_table(content: bytes, words: str, tmp_path: Path) -> None:
    (file := tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_files([file], "auto", "line")


def test_problems_that_need_no_reading(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    (tmp_path / "rows.parquet").write_text("a\n1\n")
    (tmp_path / "rows.xyz").write_text("a\n1\n")
    assert file_problem(tmp_path / "rows.csv") is None
    assert file_problem(tmp_path / "rows.xyz", "csv") is None
    assert "says no format" in (file_problem(tmp_path / "rows.xyz") or "")
    assert "is not a Parquet file" in (file_problem(tmp_path / "rows.parquet") or "")
    assert "did you mean 'rows.csv'" in (file_problem(tmp_path / "row.csv") or "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", 'text,label\r\n"a\nb",1\r\nà,2\r\n'),
        ("rows.tsv", 'text\tlabel\r\n"a\nb"\t1\r\nà\t2\r\n'),
        ("rows.jsonl", '{"text": "a\\nb", "label": "1"}\r\n{"text": "à", "label": "2"}\r\n'),
        ("rows.json", '[{"text": "a\\nb", "label": "1"},\r\n {"text": "à", "label": "2"}]\r\n'),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_of_windows_and_byte_order_marks(name: str, content: str, mark: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes((mark + content).encode())
    assert read_files([tmp_path / name], "auto", "line")[:] == {"text": ["a\nb", "à"], "label": ["1", "2"]}


@pytest.mark.parametrize(
    ("sample_by", "texts"),
    [("line", ["one", "two", "", "", "three"]), ("paragraph", ["one\ntwo", "\nthree\n"])],
)
def test_texts_of_windows(sample_by: str, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes("\ufeffone\r\ntwo\r\n\r\n\r\nthree\r\n".encode())
    assert read_files([tmp_path / "rows.txt"], "auto", sample_by)["text"][:] == texts


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.txt"])
def test_what_unicode_calls_a_line_break_is_a_part_of_a_text(name: str, tmp_path: Path) -> None:
    texts = ["a\u2028b", "c\x85d\x0ce"]
    if name == "rows.jsonl":
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    else:
        lines = texts if name == "rows.txt" else ["text", *texts]
    (tmp_path / name).write_bytes(("\n".join(lines) + "\n").encode())
    plain = {"rows.csv": "text\nplain\n", "rows.jsonl": '{"text": "plain"}\n', "rows.txt": "plain\n"}
    (tmp_path / f"more.{name}").write_text(plain[name])
    table = read_files([tmp_path / name, tmp_path / f"more.{name}"], "auto", "line")
    assert table["text"][:] == [*texts, "plain"]


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\none,1\n")
    (tmp_path / "b.csv").write_text("label,text\n2,two\n")
    table = read_files([tmp_path / "a.csv", tmp_path / "b.csv"], "auto", "line")
    assert table[:] == {"text": ["one", "two"], "label": ["1", "2"]}


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_files_with_other_columns_are_told(kind: str, tmp_path: Path) -> None:
    from datasets import Dataset as Table

    files = [tmp_path / f"{name}.{kind}" for name in ("a", "b")]
    for file, name in zip(files, ("text", "sentence"), strict=True):
        rows = Table.from_dict({name: ["one"], "label": [1]})
        rows.to_parquet(file) if kind == "parquet" else rows.to_json(file, lines=kind == "jsonl")
    with pytest.raises(UserError, match=rf"b\.{kind} has the columns sentence, label, but a\.{kind} has text, label"):
        read_files(files, "auto", "line")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_a_row_of_five_megabytes(suffix: str, tmp_path: Path) -> None:
    long = "warm and lovely " * 330_000
    content = {
        "csv": f"text\n{long}\nshort\n",
        "jsonl": f'{{"text": "{long}"}}\n{{"text": "short"}}\n',
        "txt": f"{long}\nshort\n",
    }
    (tmp_path / f"rows.{suffix}").write_text(content[suffix])
    assert read_files([tmp_path / f"rows.{suffix}"], "auto", "line")["text"][:] == [long, "short"]


def test_a_broken_line_is_told_by_its_number(tmp_path: Path) -> None:
    good = '{"text": "a", "label": 1}\n'
    (tmp_path / "rows.jsonl").write_text(good * 40 + '{"text": "b" "label": 1}\n' + good * 3)
    with pytest.raises(UserError, match=r"rows\.jsonl: line 41 is not JSON"):
        read_files([tmp_path / "rows.jsonl"], "auto", "line")
    assert not list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*incomplete"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder of two splits, as `datasets` saves one."""
    rows = {"text": TEXTS, "label": [0, 1, 1, 0]}
    splits = {"train": datasets.Dataset.from_dict(rows), "test": datasets.Dataset.from_dict(rows).select([3, 1])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_folder_that_datasets_saved(saved: Path) -> None:
    assert file_problem(saved / "train") is None
    assert read_files([saved / "train"], "auto", "line")[:] == {"text": TEXTS, "label": [0, 1, 1, 0]}
    both = read_files([saved / "test", saved / "train"], "auto", "line")
    assert both["text"][:] == [TEXTS[3], TEXTS[1], *TEXTS]
    assert file_problem(saved) == (
        f"{saved} holds several splits; give one of their folders: {saved}/test, {saved}/train"
    )
    assert "is a folder where a file belongs" in (file_problem(saved.parent) or "")


def test_a_folder_saved_as_tensors_gives_plain_values(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": TEXTS}).with_format("numpy").save_to_disk(tmp_path / "saved")
    assert read_files([tmp_path / "saved"], "auto", "line")[0:2] == {"text": TEXTS[:2]}


def test_a_saved_folder_is_only_read(saved: Path) -> None:
    """Whatever is derived of it: a choice of its rows, another column."""
    before = sorted(saved.rglob("*"))
    table = read_files([saved / "train"], "auto", "line").select([3, 0, 2])
    assert table.remove_columns("label").add_column("label", [1, 2, 3])[0] == {"text": TEXTS[3], "label": 1}
    assert sorted(saved.rglob("*")) == before


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv.gz"])
def test_what_makes_a_parser_give_up(name: str, tmp_path: Path) -> None:
    """Brackets without end, numbers without end, a gzip file with wrong bytes in its middle."""
    file = tmp_path / name
    if name.endswith(".gz"):
        packed = bytearray(gzip.compress(bytes(range(32, 127)) * 200 + b"\n"))
        packed[20:24] = b"\r\r\r\r"
        contents = [bytes(packed)]
    else:
        contents = [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 9_000]
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(UserError, match=file.name):
            read_files([file], "auto", "line")
