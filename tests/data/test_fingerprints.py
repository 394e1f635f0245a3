"""Texts that people call the same are the same number, and no others."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset as Table

from llama_experiments.data import fingerprints as module
from llama_experiments.data.fingerprints import fingerprints, normalized, normalized_texts

# What nothing but ASCII, what Unicode, what white space of every kind does to a text:
TEXTS = [
    "  A  Lovely\tFilm\r\n",
    "ＡＢＣ ﬁne½ ①",
    "a\u00a0b\u2003c\u3000d\u2028e\u1680f\u0085g",
    "É E\u0301 ß ẞ",
    "\u2028 x \u1680\t",
    "",
    " \n ",
    "中文　文本",
    "👍🏽 👨‍👩‍👧",
]


@pytest.mark.parametrize("alone", [True, False])
def test_normalized_is_nfkd_lower_and_single_spaces(alone: bool) -> None:
    """Alone, a text of ASCII is not treated as Unicode; the result must not show it."""
    expected = [" ".join(unicodedata.normalize("NFKD", text).lower().split()) for text in TEXTS]
    given = [pa.array([text], pa.large_string()) for text in TEXTS] if alone else [pa.array(TEXTS, pa.large_string())]
    assert [text for array in given for text in normalized(array).to_pylist()] == expected


def prints(texts: list[object], **others: list[object]) -> list[int]:
    return fingerprints(Table.from_dict({"text": texts, **others}), ["text", *others]).tolist()


def test_the_same_text_is_the_same_number() -> None:
    same = prints(["A  fine\nfilm", "a fine film", " a fine film\u00a0", "Ａ ﬁne film"])
    assert len(set(same)) == 1
    assert len(set(prints(["Caf\u00e9", "cafe\u0301", "CAFE\u0301", "각", "\u1100\u1161\u11a8"]))) == 2
    different = prints(["a fine film", "a fine film.", "afine film", "a finefilm", "a fine  fi lm", ""])
    assert len(set(different)) == 6


def test_columns_do_not_run_into_each_other() -> None:
    assert len(set(prints(["ab", "a", "", "ab\nc"], context=["c", "bc", "abc", ""]))) == 4
    assert len(set(prints(["ab c", "AB  c"], context=["d", "D "]))) == 1


def test_values_of_other_types() -> None:
    """A chat's messages count as they are; a completion may be missing."""
    chats = [[{"role": "user", "content": text}] for text in ("hi  there", "Hi there", "hi here")]
    found = prints(chats)  # type: ignore[arg-type]
    assert found[0] == found[1] != found[2]
    assert len(set(prints(["a", None, ""]))) == 2


def test_batches_and_selections_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"Text {number % 7}" for number in range(25)]
    whole = fingerprints(Table.from_dict({"text": texts}), ["text"])
    monkeypatch.setattr(module, "BATCH_ROWS", 4)
    table = Table.from_dict({"text": texts})
    np.testing.assert_array_equal(fingerprints(table, ["text"]), whole)
    chosen = np.array([3, 9, 24, 1, 17])
    np.testing.assert_array_equal(fingerprints(table.select(chosen), ["text"]), whole[chosen])
    told = [text for part in normalized_texts(table, ["text"], chosen) for text in part.to_pylist()]
    assert told == [texts[place].lower() for place in chosen]
