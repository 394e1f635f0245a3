"""Text with and without examples before it: the same tokens are scored, and each loss is an independent one's."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset as Table
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.data.tokenized import encode
from llama_experiments.errors import UserError
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks import language_modelling
from llama_experiments.tasks.base import Prompting, Task
from llama_experiments.tasks.generation import generate
from llama_experiments.tasks.language_modelling import ends
from llama_experiments.tasks.prompted_text_generation import PromptedTextGeneration
from llama_experiments.tasks.prompts import FEWER
from llama_experiments.tasks.text_generation import TextGeneration
from tests.conftest import sentences
from tests.tasks.conftest import Load, found, no_gradient

TEXTS = [text for text, _ in sentences(9)]
ROWS: dict[str, list[dict[str, Any]]] = {
    "text": [{"text": text} for text in TEXTS],
    "completion": [{"prompt": text[:20], "completion": text[20:]} for text in TEXTS],
    "messages": [
        {"messages": [{"role": "user", "content": text[:20]}, {"role": "assistant", "content": text[20:]}]}
        for text in TEXTS
    ],
}
SOLVED = [6, 3, 8]  # rows shown solved, the oldest first
POSITIONS = 300


def asking(form: str, solved: list[dict[str, Any]], **settings: Any) -> PromptedTextGeneration:
    context = settings.pop("context", None)
    task = TextGeneration(**{"format": form, "max_length": 64, **settings})
    return task.prompted(Prompting(demonstrations=solved, context=context))


def encoded(task: Task, tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, Any]]) -> Examples:
    table = Table.from_list(rows)
    part = Rows("validation", "rows.jsonl", table, np.arange(len(table)) + 1, {})
    with tempfile.TemporaryDirectory() as folder:
        return encode(part, task, tokenizer, Path(folder))


def losses(task: Task, model: PreTrainedModel, examples: Examples, size: int, packed: bool = False) -> torch.Tensor:
    parts = [
        no_gradient(task, model, examples.batch(np.arange(len(examples))[start : start + size], packed)).predictions
        for start in range(0, len(examples), size)
    ]
    return torch.cat([one["loss"] for one in parts])


def tokens_of(examples: Examples, name: str = "input_ids") -> list[list[int]]:
    values, offsets = examples.ragged[name]
    return [values[start:end].tolist() for start, end in itertools.pairwise(offsets)]


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def model(load: Load) -> PreTrainedModel:
    return load(TextGeneration()).eval()


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("max_length", [64, 16])
def test_the_same_tokens_are_scored_with_and_without_examples(
    form: str, max_length: int, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows, settings = ROWS[form], {"max_length": max_length}
    bare = encoded(TextGeneration(format=form, **settings), tokenizer, rows)  # type: ignore[arg-type]
    zero_task = asking(form, [], **settings).meet(tokenizer, POSITIONS)
    zero = encoded(zero_task, tokenizer, rows)
    task = asking(form, [rows[at] for at in SOLVED], **settings).meet(tokenizer, POSITIONS)
    few = encoded(task, tokenizer, rows)
    assert (few.fixed["shown"] == 3).all()
    assert tokens_of(zero) == tokens_of(bare)
    for name in ("count", "row", "bytes"):
        assert zero.fixed[name].tolist() == few.fixed[name].tolist() == bare.fixed[name].tolist()
    before = few.fixed["before"]
    own = [ids[start:] for ids, start in zip(tokens_of(few), before, strict=True)]
    assert own == tokens_of(bare)
    masks = [mask[start:] for mask, start in zip(tokens_of(few, "scored"), before, strict=True)]
    expected = tokens_of(bare, "scored") if form != "text" else [[0] + [1] * (len(ids) - 1) for ids in own]
    assert masks == expected
    without, with_them = losses(zero_task, model, zero, 4), losses(task, model, few, 4)
    assert torch.equal(without, losses(TextGeneration(format=form, **settings), model, bare, 4))  # type: ignore[arg-type]
    assert (with_them - without).abs().min() > 1e-3


@pytest.mark.parametrize("form", ROWS)
def test_examples_are_documents_and_are_only_read(
    form: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Each loss is that of the row's learned tokens, one row at a time, no padding, by transformers' own logits."""
    rows = ROWS[form]
    task = asking(form, [rows[at] for at in SOLVED]).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, rows)
    whole = tokens_of(encoded(TextGeneration(format=form, max_length=64), tokenizer, rows))  # type: ignore[arg-type]
    lead = [token for at in SOLVED for token in whole[at]]
    assert lead.count(tokenizer.bos_token_id) == 3
    expected = []
    for ids, mask in zip(tokens_of(examples), tokens_of(examples, "scored"), strict=True):
        assert ids[: len(lead)] == lead
        assert not any(mask[: len(lead)])
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
        expected.append(-sum(float(scores[at - 1, ids[at]]) for at in range(len(ids)) if mask[at]))
    for size in (1, 4, 9):
        for packed in (False, True):
            torch.testing.assert_close(
                losses(task, model, examples, size, packed), torch.tensor(expected).double(), rtol=0, atol=1e-4
            )


def test_the_oldest_examples_go_first_and_it_is_told(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = ROWS["text"]
    whole = tokens_of(encoded(TextGeneration(max_length=64), tokenizer, rows))
    seen = set()
    for context in range(64, 200, 7):
        task = asking("text", [rows[at] for at in SOLVED], context=context).meet(tokenizer, POSITIONS)
        examples = encoded(task, tokenizer, rows)
        for ids, own, shown in zip(tokens_of(examples), whole, examples.fixed["shown"], strict=True):
            fitting = [
                number
                for number in range(4)
                if sum(len(whole[at]) for at in SOLVED[3 - number :]) + len(own) <= context
            ]
            assert shown == max(fitting)
            assert ids == [token for at in SOLVED[3 - shown :] for token in whole[at]] + own
        assert task.length_findings(examples)[FEWER].tolist() == (examples.fixed["shown"] < 3).tolist()
        assert task.row_tokens(examples).tolist() == [len(own) for own in whole]
        seen |= set(examples.fixed["shown"].tolist())
    assert seen == {0, 1, 2, 3}


def test_windows_are_no_longer_than_the_context(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = ROWS["text"]
    for solved in ([], [rows[3]]):
        task = asking("text", solved, context=12).meet(tokenizer, POSITIONS)
        examples = encoded(task, tokenizer, rows)
        assert examples.lengths.max() <= 12
        shorter = encoded(TextGeneration(max_length=12), tokenizer, rows)
        own = [ids[start:] for ids, start in zip(tokens_of(examples), examples.fixed["before"], strict=True)]
        assert own == tokens_of(shorter)


def test_of_a_long_example_the_first_window_is_shown(tokenizer: PreTrainedTokenizerFast) -> None:
    task = asking("text", [ROWS["text"][8]], max_length=10).meet(tokenizer, POSITIONS)
    assert list(task.solved[0]) == tokenizer(TEXTS[8])["input_ids"][:10]


@pytest.mark.parametrize("form", ROWS)
def test_samples_go_on_after_the_same_examples(
    form: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """And show the row's own prompt, which without examples is the same."""
    rows, settings = ROWS[form], {"sample_tokens": 6, "sample_temperature": 0}
    model.config.max_position_embeddings = POSITIONS
    zero_task = asking(form, [], **settings).meet(tokenizer, POSITIONS)
    task = asking(form, [rows[at] for at in SOLVED], **settings).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, rows)
    without = zero_task.write(model, tokenizer, encoded(zero_task, tokenizer, rows)).samples
    written = task.write(model, tokenizer, examples).samples
    assert [sample.prompt for sample in written] == [sample.prompt for sample in without]
    lead = [token for ids in task.solved for token in ids]
    for sample, index in zip(written, (0, 3, 6), strict=True):
        own = task.beginning(examples, index, tokenizer)
        assert tokens_of(examples)[index][: len(lead) + len(own)] == lead + own
        (ids,) = generate(model, [lead + own], 6, ends(model, tokenizer))
        whole = tokenizer.decode([*own, *ids], skip_special_tokens=True)
        assert sample.prompt + sample.continuation == whole


def test_given_prompts_follow_the_examples_too(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    settings = {"sample_prompts": ["The song"], "sample_tokens": 6, "sample_temperature": 0}
    task = asking("text", [ROWS["text"][3]], **settings).meet(tokenizer, 64)
    (sample,) = task.write(model, tokenizer, encoded(task, tokenizer, ROWS["text"])).samples
    (ids,) = generate(model, [[*task.solved[0], *tokenizer("The song")["input_ids"]]], 6, ends(model, tokenizer))
    assert sample.prompt == "The song"
    assert sample.prompt + sample.continuation == tokenizer.decode(
        [*tokenizer("The song")["input_ids"], *ids], skip_special_tokens=True
    )


def test_examples_that_make_no_document_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
        "{{ message['content'] + '</s>' }}{% endfor %}"
    )
    good = ROWS["messages"][0]
    bad = {"messages": [{"role": "system", "content": "Be."}, *good["messages"]]}
    with pytest.raises(UserError, match=r"technique.shots: 1 of the 2 examples drawn make no document"):
        asking("messages", [good, bad]).meet(tokenizer, POSITIONS)


def test_a_context_longer_than_the_models_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"technique.context: 65 tokens are more than the model's 64 positions"):
        asking("text", [], context=65).meet(tokenizer, 64)


def test_perplexity_counts_the_rows_own_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    task = asking("text", [ROWS["text"][3]]).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, ROWS["text"])
    predictions = {"loss": losses(task, model, examples, 4).numpy()} | found(examples)
    own = sum(len(tokenizer(text)["input_ids"]) for text in TEXTS)  # without bos, with the end
    assert examples.counts.sum() == own
    expected = np.exp(predictions["loss"].sum() / own)
    assert task.score(predictions, examples)["perplexity"] == pytest.approx(expected)


@pytest.mark.parametrize("form", ROWS)
def test_what_windows_begin_with_is_run_once(
    form: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ROWS[form]
    task = asking(form, [rows[at] for at in SOLVED], context=150).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer, rows)
    forward, tokens = model.model.forward, list[int]()

    def counted(**given: Any) -> Any:
        tokens.append(given["input_ids"].numel())
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", counted)
    shared = losses(task, model, examples, 3)
    fewer = sum(tokens)
    tokens.clear()
    monkeypatch.setattr(language_modelling, "can_share", lambda model: False)
    alone = losses(task, model, examples, 3)
    assert fewer < 0.8 * sum(tokens)
    torch.testing.assert_close(shared, alone, rtol=0, atol=5e-5)  # sums over some 30 tokens
