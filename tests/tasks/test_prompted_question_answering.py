"""Questions put to a language model: what it is asked, what fits, and how its answers are scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from llama_experiments.data.examples import Examples
from llama_experiments.data.tokenized import encode
from llama_experiments.errors import SettingError, UserError
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks import language_modelling
from llama_experiments.tasks.base import Prompting, Written
from llama_experiments.tasks.generative_question_answering import GenerativeQuestionAnswering
from llama_experiments.tasks.prompted_question_answering import PromptedQuestionAnswering
from llama_experiments.tasks.prompts import FEWER
from llama_experiments.tasks.question_answering import QuestionAnswering
from llama_experiments.tasks.squad_metrics import exact_match, f1
from tests.tasks.conftest import Load, found, no_gradient
from tests.tasks.questions import questions, rows_of

TEMPLATE = "P: {context}\nQ: {question}\nA:"
ROWS = questions(8)
SOLVED = questions(2, start=8, unanswerable=False)
POSITIONS = 400


def asking(solved: list[dict[str, Any]] | None = None, context: int | None = None, **settings: Any) -> Any:
    settings = {"max_length": 300, "stride": 8, "template": TEMPLATE, "max_answer_tokens": 8, **settings}
    return QuestionAnswering(**settings).prompted(Prompting(demonstrations=solved or [], context=context))


def encoded(
    task: PromptedQuestionAnswering, tokenizer: PreTrainedTokenizerFast, folder: Path, rows: list[dict[str, Any]]
) -> Examples:
    return encode(task.prepared(rows_of(rows)), task, tokenizer, folder)


def asked(row: dict[str, Any], context: str | None = None) -> str:
    return f"P: {row['context'] if context is None else context}\nQ: {row['question']}\nA:"


def answer(row: dict[str, Any]) -> str:
    return row["answers"]["text"][0] if row["answers"]["text"] else "no answer"


def text_of(examples: Examples, index: int, tokenizer: PreTrainedTokenizerFast) -> str:
    ids, offsets = examples.ragged["input_ids"]
    return tokenizer.decode(ids[offsets[index] : offsets[index + 1]].tolist(), skip_special_tokens=True)


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def model(load: Load) -> PreTrainedModel:
    made = load(GenerativeQuestionAnswering()).eval()
    made.config.max_position_embeddings = POSITIONS
    return made


def test_every_question_is_asked_in_the_tasks_own_words() -> None:
    task = asking(max_length=77, no_answer="none", max_answer_tokens=5)
    assert isinstance(task, PromptedQuestionAnswering)
    assert (task.max_length, task.template, task.no_answer, task.answer_tokens) == (77, TEMPLATE, "none", 5)
    assert task.generated_examples is None
    written = GenerativeQuestionAnswering(generated_examples=7, template=TEMPLATE).prompted(Prompting())
    assert (type(written), written.generated_examples) == (PromptedQuestionAnswering, 7)


@pytest.mark.parametrize("solved", [[], SOLVED])
def test_the_loss_is_of_the_reference_alone(
    solved: list[dict[str, Any]], model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """One row at a time, no padding, by transformers' own logits."""
    task = asking(solved).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, tmp_path, ROWS)
    expected, counts = [], []
    for row in ROWS:
        prompt = "\n\n".join([*(f"{asked(one)} {answer(one)}" for one in solved), asked(row)])
        before, ids = (tokenizer(text)["input_ids"] for text in (prompt, f"{prompt} {answer(row)}"))
        ids.append(tokenizer.eos_token_id)
        assert ids[: len(before)] == before
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
        expected.append(-sum(float(scores[at - 1, ids[at]]) for at in range(len(before), len(ids))))
        counts.append(len(ids) - len(before))
    assert examples.counts.tolist() == counts
    for packed in (False, True):
        for size in (1, 3, 8):
            losses = [
                no_gradient(task, model, examples.batch(np.arange(8)[start : start + size], packed)).predictions[
                    "loss"
                ]
                for start in range(0, 8, size)
            ]
            torch.testing.assert_close(torch.cat(losses), torch.tensor(expected).double(), rtol=0, atol=1e-4)


def test_all_answers_are_scored(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's own are what follows the whole prompt; right and half right ones count as SQuAD's script says."""
    from llama_experiments.tasks import generation

    task = asking(SOLVED).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, tmp_path, ROWS)
    read: list[list[int]] = []
    said = [answer(row) if at % 2 else f"the {answer(row)} thing" for at, row in enumerate(ROWS)]
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in said]
    monkeypatch.setattr(generation, "generate", lambda _, prompts, *rest: read.extend(prompts) or tokens)
    written = task.write(model, tokenizer, examples)
    assert isinstance(written, Written)
    for row, ids in zip(ROWS, read, strict=True):
        prompt = "\n\n".join([*(f"{asked(one)} {answer(one)}" for one in SOLVED), asked(row)])
        assert ids == tokenizer(prompt)["input_ids"]
    predictions = no_gradient(task, model, examples.batch(np.arange(8))).predictions
    scored = {"loss": predictions["loss"].numpy(), **found(examples), **written.predictions}
    metrics = task.score(scored, examples)
    references = [row["answers"]["text"] for row in ROWS]
    pairs = list(zip(said, references, strict=True))
    assert metrics["exact_match"] == np.mean([exact_match(*pair) for pair in pairs]) == 0.5
    assert metrics["f1"] == pytest.approx(np.mean([f1(*pair) for pair in pairs]))
    table = task.prediction_table(scored, examples)
    values, counts = task.row_metric(table)
    assert counts.tolist() == [1.0] * 8  # a row a question
    assert values.mean() == pytest.approx(metrics["f1"])


def test_a_question_without_an_answer_is_shown_with_the_words_for_it(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    silent = questions(1, unanswerable=True)
    task = asking(silent, no_answer="none").meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, tmp_path, silent)
    text = f"{asked(silent[0])} none"
    assert text_of(examples, 0, tokenizer) == f"{text}\n\n{text}"
    assert task.as_read(examples, 0, tokenizer) == f"<s> {text}\n\n{asked(silent[0])} [none]"


def test_the_oldest_examples_go_first_and_it_is_told(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    seen = set()
    for context in range(60, 330, 15):
        task = asking(SOLVED, context, max_length=60).meet(tokenizer, POSITIONS)
        row = ROWS[:1]  # a short one, which is never cut
        examples = encoded(task, tokenizer, tmp_path, row)
        sizes = []
        for number in range(3):
            prompt = "\n\n".join([*task.solved[2 - number :], asked(row[0])])
            whole = len(tokenizer(f"{prompt} {answer(row[0])}")["input_ids"]) + 1
            sizes.append(max(whole, len(tokenizer(prompt)["input_ids"]) + 8))
        (shown,) = examples.fixed["shown"]
        assert shown == max(number for number in range(3) if sizes[number] <= context)
        prompt = "\n\n".join([*task.solved[2 - shown :], asked(row[0])])
        assert text_of(examples, 0, tokenizer) == f"{prompt} {answer(row[0])}"
        assert task.length_findings(examples)[FEWER].tolist() == [shown < 2]
        seen.add(int(shown))
    assert seen == {0, 1, 2}


def test_of_a_long_passage_the_beginning_is_cut_not_the_template(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    row = max(ROWS, key=lambda one: len(one["context"]))
    whole = len(tokenizer(f"{asked(row)} {answer(row)}")["input_ids"]) + 1
    for limit in (whole, whole - 1, whole - 10):
        task = asking(max_length=limit).meet(tokenizer, POSITIONS)
        examples = encoded(task, tokenizer, tmp_path, [row])
        text = text_of(examples, 0, tokenizer)
        left = text.removeprefix("P: ").removesuffix(f"\nQ: {row['question']}\nA: {answer(row)}")
        assert text == f"{asked(row, left)} {answer(row)}"
        assert row["context"].endswith(left)
        assert limit - 3 <= examples.lengths[0] <= limit
        assert task.length_findings(examples)["with a passage that was cut"].tolist() == [limit < whole]
        assert task.row_tokens(examples).tolist() == [whole]


def test_there_is_room_for_an_answer(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """A prompt is cut so far that what is written after it needs no more than the context."""
    task = asking(SOLVED, 90, max_length=90, max_answer_tokens=30).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, tmp_path, ROWS)
    prompts = examples.lengths - examples.counts
    assert (prompts + 30 <= 90).all()
    assert prompts.max() > 90 - 30 - 4


def test_a_row_without_room_gives_no_example(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    long = {**ROWS[0], "question": "Which film was it? " * 20}
    task = asking(context=60, max_length=60).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, tmp_path, [ROWS[0], long, ROWS[1]])
    assert examples.fixed["row"].tolist() == [0, 2]
    told = task.length_findings(examples)["with a question and an answer that leave no room for the passage"]
    assert told.tolist() == [False, True, False]
    assert task.row_tokens(examples)[1] == 0


@pytest.mark.parametrize("settings", [{"context": 30}, {"max_length": 12}])
def test_a_template_longer_than_there_is_room_is_refused(
    settings: dict[str, int], tokenizer: PreTrainedTokenizerFast
) -> None:
    template = "The film was lovely. {context} {question}" + " Say it in a word." * 3
    with pytest.raises(UserError, match=r"task.template: without a passage and a question it is longer"):
        asking(template=template, **settings).meet(tokenizer, POSITIONS)


@pytest.mark.parametrize("template", ["{context}", "{context} {question} {answer}", "{text}"])
def test_a_template_without_its_places_is_refused(template: str) -> None:
    with pytest.raises(SettingError, match=r"template must have the places \{context\} and \{question\}"):
        QuestionAnswering(template=template)


def test_all_that_the_tokens_depend_on_is_in_the_key(tokenizer: PreTrainedTokenizerFast) -> None:
    tasks = [
        asking(),
        asking(SOLVED),
        asking(SOLVED[::-1]),
        asking(context=200),
        asking(max_answer_tokens=9),
        asking(no_answer="none"),
        asking(template=f"x {TEMPLATE}"),
        asking(max_length=200),
    ]
    settings = [task.meet(tokenizer, POSITIONS).encoding_settings() for task in tasks]
    assert all(one != two for at, one in enumerate(settings) for two in settings[:at])
    spans = [QuestionAnswering(max_length=300), QuestionAnswering(max_length=300, template=TEMPLATE, no_answer="x")]
    assert spans[0].encoding_settings() == spans[1].encoding_settings()


def test_what_prompts_begin_with_is_run_once(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = asking(SOLVED).meet(tokenizer, POSITIONS)
    assert [len(begun) for begun in task.shared] == sorted(len(begun) for begun in task.shared)
    examples = encoded(task, tokenizer, tmp_path, ROWS)
    forward, tokens = model.model.forward, list[int]()

    def counted(**given: Any) -> Any:
        tokens.append(given["input_ids"].numel())
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", counted)
    shared = no_gradient(task, model, examples.batch(np.arange(8))).predictions["loss"]
    fewer = sum(tokens)
    tokens.clear()
    monkeypatch.setattr(language_modelling, "can_share", lambda model: False)
    alone = no_gradient(task, model, examples.batch(np.arange(8))).predictions["loss"]
    assert fewer < 0.8 * sum(tokens)
    torch.testing.assert_close(shared, alone, rtol=0, atol=5e-5)  # sums over some 10 tokens
