"""SQuAD's own JSON: every question a row, and what is not laid out so is told with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from llama_experiments.data.files import read_files
from llama_experiments.errors import UserError
from tests.conftest import SHARED

TREE: dict[str, Any] = {
    "version": "v2.0",
    "data": [
        {
            "title": "Kettles",
            "paragraphs": [
                {
                    "context": "A kettle is warm.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "What is warm?",
                            "answers": [
                                {"text": "A kettle", "answer_start": 0},
                                {"text": "is", "answer_start": 9},
                            ],
                        },
                        {"id": "q2", "question": "Who is cold?", "answers": [], "is_impossible": True},
                        {"id": "q3", "question": "Where?", "answers": []},
                    ],
                }
            ],
        },
        {
            "paragraphs": [
                {
                    "context": "Trains are late.",
                    "qas": [{"id": 4, "question": "What?", "answers": [{"text": "Trains", "answer_start": 0}]}],
                }
            ]
        },
    ],
}


@pytest.mark.parametrize("name", ["squad.json", "squad.json.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_question_is_a_row(name: str, mark: str, tmp_path: Path) -> None:
    content = (mark + json.dumps(TREE)).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    table = read_files([tmp_path / name], "squad", "line")
    assert table["id"][:] == ["q1", "q2", "q3", "4"]
    assert table["title"][:] == ["Kettles", "Kettles", "Kettles", ""]
    assert table["context"][:] == [*["A kettle is warm."] * 3, "Trains are late."]
    assert table["question"][:] == ["What is warm?", "Who is cold?", "Where?", "What?"]
    assert table["answers"][:] == [
        {"text": ["A kettle", "is"], "answer_start": [0, 9]},
        {"text": [], "answer_start": []},  # known to have none
        None,  # it should have one
        {"text": ["Trains"], "answer_start": [0]},
    ]


def test_several_files_in_their_order(tmp_path: Path) -> None:
    for name, article in (("a", TREE["data"][0]), ("b", TREE["data"][1])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"data": [article]}))
    assert read_files([tmp_path / "b.json", tmp_path / "a.json"], "squad", "line")["id"][:] == ["4", "q1", "q2", "q3"]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (["data"], {}, "the top has no list 'data'"),
        (["data", 1], 3, r"data\[1\] is no object"),
        (["data", 0, "paragraphs"], None, r"data\[0\] has no list 'paragraphs'"),
        (["data", 0, "paragraphs", 0, "context"], 3, r"data\[0\]\.paragraphs\[0\] has no text 'context'"),
        (["data", 0, "paragraphs", 0, "qas", 2, "question"], None, r"qas\[2\] has no text 'question'"),
        (["data", 0, "paragraphs", 0, "qas", 1, "answers"], {}, r"qas\[1\] has no list 'answers'"),
        (["data", 0, "paragraphs", 0, "qas", 0, "answers", 1, "text"], 3, r"answers\[1\] has no text 'text'"),
        (["data", 0, "paragraphs", 0, "qas", 0, "answers", 0, "answer_start"], "0", "has no whole number"),
        (["data", 0, "paragraphs", 0, "qas", 0, "answers", 0, "answer_start"], True, "has no whole number"),
        (["data"], [], "there are no questions in it"),
    ],
)
def test_what_is_not_laid_out_so_is_told_with_its_place(
    place: list[Any], value: object, words: str, tmp_path: Path
) -> None:
    tree = json.loads(json.dumps(TREE))
    node = tree
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    (tmp_path / "bad.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=rf"bad\.json.*{words}"):
        read_files([tmp_path / "bad.json"], "squad", "line")


@pytest.mark.skipif(not SHARED.exists(), reason="no shared data here")
def test_the_real_one() -> None:
    files = sorted((SHARED / "squad").glob("*.json"))
    table = read_files(files, "squad", "line")
    assert len(table) == 11_877
    for context, answers in zip(table["context"], table["answers"], strict=True):
        (text,), (start,) = answers["text"], answers["answer_start"]
        assert context[start : start + len(text)] == text
