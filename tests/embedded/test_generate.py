"""The embedded files are what the generator writes, and keep what is promised of them."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llama_experiments.embedded import generate
from llama_experiments.embedded.words import tidy

COMMITTED = Path(generate.__file__).parent
DATA = COMMITTED / "data"
JUDGED = re.compile(r"Review: (?P<text>[^\n]+)\nSentiment: (?P<answer>negative|neutral|positive)")
ASKED = re.compile(r"Passage: (?P<text>[^\n]+)\nQuestion: (?P<question>[^\n]+\?)\nAnswer: (?P<answer>[^\n]+)")


def reviews(name: str) -> list[tuple[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as stream:
        return [(row["sentence"], row["label"]) for row in csv.DictReader(stream, delimiter="\t")]


def objects(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def lines(name: str) -> list[str]:
    return [one["text"] for one in objects(name)]


def said(messages: list[dict[str, str]]) -> str:
    return "\n".join(message["content"] for message in messages)


def paragraphs(part: str) -> list[dict[str, Any]]:
    data = json.loads((DATA / f"passages.{part}.json").read_text(encoding="utf-8"))["data"]
    return [paragraph for article in data for paragraph in article["paragraphs"]]


def told(document: str) -> str:
    """The review, passage or story of a document of the corpus, without the wording of a prompt."""
    found = JUDGED.fullmatch(document) or ASKED.fullmatch(document)
    return found["text"] if found else document


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    generate.main(["--output", str(folder)])
    return folder


def test_data_are_reproduced_byte_for_byte(again: Path) -> None:
    names = sorted(path.name for path in (again / "data").iterdir())
    assert names == sorted(path.name for path in DATA.iterdir())
    for name in names:
        assert (again / "data" / name).read_bytes() == (DATA / name).read_bytes(), name


def test_tokenizer_is_reproduced_byte_for_byte(again: Path) -> None:
    made, committed = (folder / "tokenizer" / "tokenizer.model" for folder in (again, COMMITTED))
    assert made.read_bytes() == committed.read_bytes()


def test_all_of_it_is_small(again: Path) -> None:
    assert sum(path.stat().st_size for path in again.rglob("*") if path.is_file()) <= 2_800_000


@pytest.mark.parametrize(
    ("name", "rows", "labels"),
    [
        ("reviews.train.tsv", 2000, {"negative", "positive"}),
        ("reviews.validation.tsv", 600, {"negative", "positive"}),
        ("reviews_three.train.tsv", 2000, {"negative", "neutral", "positive"}),
        ("reviews_three.validation.tsv", 600, {"negative", "neutral", "positive"}),
    ],
)
def test_reviews_are_balanced_and_of_some_length(name: str, rows: int, labels: set[str]) -> None:
    table = reviews(name)
    counts = Counter(label for _, label in table)
    assert len(table) == rows
    assert set(counts) == labels
    assert all(abs(count / rows - 1 / len(labels)) < 0.03 for count in counts.values())
    assert all(15 <= len(text.split()) <= 45 for text, _ in table)
    assert not any(mark in text for text, _ in table for mark in '"\t\n{}')


def test_no_text_occurs_twice_nor_in_the_corpus() -> None:
    texts = [
        text
        for kind in ("reviews", "reviews_three")
        for part in generate.PARTS
        for text, _ in reviews(f"{kind}.{part}.tsv")
    ]
    texts += [text for part in generate.PARTS for text in lines(f"stories.{part}.jsonl")]
    texts += [paragraph["context"] for part in generate.PARTS for paragraph in paragraphs(part)]
    texts += [told(document) for part in generate.PARTS for document in lines(f"corpus.{part}.jsonl")]
    texts += [
        row["prompt"] + row["completion"] for part in generate.PARTS for row in objects(f"openings.{part}.jsonl")
    ]
    texts += [said(row["messages"]) for part in generate.PARTS for row in objects(f"dialogues.{part}.jsonl")]
    assert len(set(texts)) == len(texts)


def test_stories_name_who_they_began_with_at_least_twice() -> None:
    for story in lines("stories.validation.jsonl"):
        assert 60 <= len(story.split()) <= 200
        names = Counter(re.findall(r"\b[A-Z][a-z]+\b", story))
        assert names.most_common(1)[0][1] >= 2, story
        assert not re.search(r"[{}]", story)


@pytest.mark.parametrize(("part", "rows"), [("train", 240), ("validation", 40)])
def test_an_opening_is_a_storys_first_sentence(part: str, rows: int) -> None:
    found = objects(f"openings.{part}.jsonl")
    assert len(found) == rows
    for row in found:
        assert re.fullmatch(r"[A-Z][^.]*\.", row["prompt"])
        assert re.match(r" [A-Z]", row["completion"])
        assert 60 <= len(f"{row['prompt']}{row['completion']}".split()) <= 200


@pytest.mark.parametrize(("part", "rows"), [("train", 300), ("validation", 50)])
def test_in_a_dialogue_users_and_assistant_take_turns(part: str, rows: int) -> None:
    found = [row["messages"] for row in objects(f"dialogues.{part}.jsonl")]
    assert len(found) == rows
    turns = Counter(tuple(message["role"] for message in messages) for messages in found)
    exchange = ("user", "assistant")
    assert set(turns) == {(*first, *exchange * times) for first in ((), ("system",)) for times in (2, 3)}
    assert not any(re.search(r"[{}\n]", message["content"]) for messages in found for message in messages)
    assert 0.2 < sum(count for roles, count in turns.items() if roles[0] == "system") / rows < 0.45


def test_a_dialogue_is_about_what_was_asked() -> None:
    """An answer takes up words of its question, so that there is something to learn."""
    taken = 0
    found = [row["messages"] for row in objects("dialogues.validation.jsonl")]
    for messages in found:
        question, answer = [message["content"] for message in messages if message["role"] != "system"][:2]
        asked, answered = (set(re.findall(r"[A-Z][a-z]{3,}|[a-z]{4,}", text)) for text in (question, answer))
        taken += bool(asked & answered)
    assert taken > 0.6 * len(found)


def test_all_that_is_embedded_is_less_than_five_megabytes() -> None:
    files = [path for path in COMMITTED.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 5_000_000


@pytest.mark.parametrize(("part", "questions"), [("train", 1000), ("validation", 300)])
def test_answers_stand_where_they_are_said_to(part: str, questions: int) -> None:
    ids = []
    for paragraph in paragraphs(part):
        assert 2 <= len(paragraph["qas"]) <= 4
        for asked in paragraph["qas"]:
            (answer,) = asked["answers"]
            start, text = answer["answer_start"], answer["text"]
            assert paragraph["context"][start : start + len(text)] == text
            ids.append(asked["id"])
    assert questions <= len(ids) <= questions + 1
    assert len(set(ids)) == len(ids)


def test_corpus_has_the_wording_of_the_prompts() -> None:
    documents = lines("corpus.train.jsonl")
    judged = [found for found in map(JUDGED.fullmatch, documents) if found]
    asked = [found for found in map(ASKED.fullmatch, documents) if found]
    assert len(judged) > 2500
    assert {found["answer"] for found in judged} == {"negative", "neutral", "positive"}
    assert len(asked) > 100
    assert all(found["answer"] in found["text"] for found in asked)
    assert len(judged) + len(asked) == sum("\n" in document for document in documents)


@pytest.mark.parametrize("name", ["reviews", "reviews_three"])
def test_bag_of_words_is_not_enough(name: str) -> None:
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, validation = (
        [list(column) for column in zip(*reviews(f"{name}.{part}.tsv"), strict=True)] for part in generate.PARTS
    )
    counter = CountVectorizer()
    model = LogisticRegression(max_iter=2000).fit(counter.fit_transform(train[0]), train[1])
    assert 0.6 < model.score(counter.transform(validation[0]), validation[1]) < 0.76


def test_tokenizer_is_made_like_llamas() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(COMMITTED / "tokenizer" / "tokenizer.model"))
    assert tokenizer.get_piece_size() == generate.VOCABULARY
    assert (tokenizer.unk_id(), tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()) == (0, 1, 2, -1)
    assert tokenizer.encode("a\nb", out_type=str)[1] == "<0x0A>"
    assert tokenizer.encode("1987", out_type=str)[-4:] == ["1", "9", "8", "7"]
    for text in [*lines("corpus.validation.jsonl"), "Zoë  paid 12 €.\n\n ok "]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tidy() -> None:
    assert tidy("a awful end. it was a {x}! a bore: a mess") == "An awful end. It was a {x}! A bore: a mess"
