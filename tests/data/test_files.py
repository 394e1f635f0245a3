"""Files of every format, read as they are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

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
