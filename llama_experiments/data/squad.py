"""SQuAD's own JSON as rows: articles, their paragraphs, the questions on each, their answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.data.answers import answer_columns
from llama_experiments.errors import UserError
from llama_experiments.files import open_file

if TYPE_CHECKING:
    from datasets import Dataset as Table


def read_squad(paths: list[Path]) -> Table:
    """Rows `id`, `title`, `context`, `question`, `answers`; no answers where a question has none and should have.

    Raises:
        UserError: not JSON, not laid out as SQuAD is, or without questions.
    """
    import datasets

    rows = [row for path in paths for row in _rows(path)]
    if not rows:
        raise UserError(f"{', '.join(path.name for path in paths)}: there are no questions in it")
    words = {name: datasets.Value("string") for name in ("id", "title", "context", "question")}
    return datasets.Dataset.from_list(rows, features=datasets.Features(words | {"answers": answer_columns()}))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with open_file(path) as stream:
        try:
            tree = json.loads(stream.read().decode("utf-8-sig"))
        except json.JSONDecodeError as error:
            raise UserError(f"{path.name} is not JSON: {error.msg} at line {error.lineno}") from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
            raise UserError(f"{path.name} is not JSON: {error}") from error
    for article, where in _listed(tree, "data", path, ""):
        title = article.get("title", "")
        for paragraph, below in _listed(article, "paragraphs", path, where):
            context = _text(paragraph, "context", path, below)
            for question, place in _listed(paragraph, "qas", path, below):
                asked = _text(question, "question", path, place)
                answers = [answer for answer, _ in _listed(question, "answers", path, place)]
                yield {
                    "id": str(question.get("id", "")),
                    "title": str(title),
                    "context": context,
                    "question": asked,
                    "answers": _columns(answers, path, place) if answers or question.get("is_impossible") else None,
                }


def _columns(answers: list[dict[str, Any]], path: Path, where: str) -> dict[str, list[Any]]:
    texts = [_text(answer, "text", path, f"{where}.answers[{at}]") for at, answer in enumerate(answers)]
    starts = [answer.get("answer_start") for answer in answers]
    for at, start in enumerate(starts):
        if not isinstance(start, int) or isinstance(start, bool):
            raise _not_squad(path, f"{where}.answers[{at}] has no whole number 'answer_start'")
    return {"text": texts, "answer_start": starts}


def _listed(node: Any, key: str, path: Path, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of the list `node[key]`, each with its place."""
    items = node.get(key) if isinstance(node, dict) else None
    if not isinstance(items, list):
        raise _not_squad(path, f"{where.removeprefix('.') or 'the top'} has no list '{key}'")
    for at, item in enumerate(items):
        here = f"{where}.{key}[{at}]"
        if not isinstance(item, dict):
            raise _not_squad(path, f"{here.removeprefix('.')} is no object")
        yield item, here


def _text(node: dict[str, Any], key: str, path: Path, where: str) -> str:
    if not isinstance(node.get(key), str):
        raise _not_squad(path, f"{where.removeprefix('.')} has no text '{key}'")
    return str(node[key])


def _not_squad(path: Path, what: str) -> UserError:
    return UserError(
        f"{path.name} is not laid out as SQuAD is: {what.removeprefix('.')}; for rows of your own use "
        "dataset=local_question_answering"
    )
