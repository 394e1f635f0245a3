"""Classes as continuations: their scores against an independent computation, whatever the batch is."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
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
from llama_experiments.errors import SettingError, UserError
from llama_experiments.tasks import beginnings, label_scores
from llama_experiments.tasks.base import Prompting
from llama_experiments.tasks.classification import SequenceClassification
from llama_experiments.tasks.prompted_classification import CONTENT_FREE, PromptedClassification
from llama_experiments.tasks.prompts import FEWER
from llama_experiments.training.probe import probe_padding
from tests.conftest import sentences
from tests.tasks.conftest import Load, found, no_gradient
from tests.tasks.tokenizers import byte_tokenizer, sentencepiece_tokenizer

NAMES = ["negative", "neutral", "positive"]
# Of one token each; of several, some of which begin alike; and of unlike numbers of tokens.
WORDS = [
    ["a", "b", "c"],
    NAMES,
    ["lovely one", "lovely two", "dull"],
    ["a", "lovely and warm", "zebra"],
]
TEMPLATE = "{text}\nSo:"
ROWS = [{"text": text, "label": number % 3} for number, (text, _) in enumerate(sentences(9))]
SOLVED = [{"text": "The song was warm.", "label": 2}, {"text": "A dull, cold play.", "label": 0}]
POSITIONS = 200


def asking(
    words: list[str] | None = None, solved: list[dict[str, Any]] | None = None, **settings: Any
) -> PromptedClassification:
    """A prompted task before it knows the model."""
    calibrate, context = settings.pop("calibrate", False), settings.pop("context", None)
    task = SequenceClassification(
        labels=NAMES,
        template=settings.pop("template", TEMPLATE),
        label_words=dict(zip(NAMES, words, strict=True)) if words else None,
        **settings,
    )
    return task.prompted(
        Prompting(demonstrations=solved or [], separator="\n\n", calibrate=calibrate, context=context)
    )


def encoded(
    task: PromptedClassification, tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, Any]] | None = None
) -> Examples:
    table = Table.from_list(rows or ROWS)
    part = Rows("validation", "rows.csv", table, np.arange(len(table)) + 1, {})
    with tempfile.TemporaryDirectory() as folder:
        return encode(part, task, tokenizer, Path(folder))


def in_batches(
    task: PromptedClassification, model: PreTrainedModel, examples: Examples, size: int, packed: bool = False
) -> dict[str, torch.Tensor]:
    parts = [
        no_gradient(task, model, examples.batch(np.arange(len(examples))[start : start + size], packed)).predictions
        for start in range(0, len(examples), size)
    ]
    return {name: torch.cat([one[name] for one in parts]) for name in parts[0]}


def alone(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str, words: list[str]) -> list[float]:
    """The log-probability of each word after a prompt: one at a time, no padding, no cache, transformers' logits."""
    sums = []
    for word in words:
        before, whole = (tokenizer(text)["input_ids"] for text in (prompt, f"{prompt} {word}"))
        assert whole[: len(before)] == before
        with torch.no_grad():
            scores = model(torch.tensor([whole])).logits[0].double().log_softmax(dim=-1)
        sums.append(sum(float(scores[at - 1, whole[at]]) for at in range(len(before), len(whole))))
    return sums


def prompt_of(row: dict[str, Any], words: list[str], solved: list[dict[str, Any]]) -> str:
    shown = [f"{one['text']}\nSo: {words[one['label']]}" for one in solved]
    return "\n\n".join([*shown, f"{row['text']}\nSo:"])


@pytest.fixture(params=[sentencepiece_tokenizer, byte_tokenizer])
def tokenizer(request: pytest.FixtureRequest, tokenizer_folder: Path, tmp_path: Path) -> PreTrainedTokenizerFast:
    make: Callable[..., PreTrainedTokenizerFast] = request.param
    return make(tokenizer_folder if make is sentencepiece_tokenizer else tmp_path / "bytes", None)


@pytest.fixture
def plain(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return sentencepiece_tokenizer(tokenizer_folder, None)


@pytest.fixture
def model(load: Load) -> PreTrainedModel:
    return load(asking()).eval()


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("solved", [[], SOLVED])
def test_scores_are_those_of_each_continuation_alone(
    words: list[str], solved: list[dict[str, Any]], model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    task = asking(words, solved).meet(tokenizer, POSITIONS)
    examples = encoded(task, tokenizer)
    assert (examples.fixed["shown"] == len(solved)).all()
    expected = torch.tensor([alone(model, tokenizer, prompt_of(row, words, solved), words) for row in ROWS])
    labels = torch.tensor([row["label"] for row in ROWS])
    for size in (1, 4, len(ROWS)):
        for packed in (False, True):
            predictions = in_batches(task, model, examples, size, packed)
            torch.testing.assert_close(predictions["logits"].float(), expected, rtol=0, atol=1e-5)
            losses = torch.nn.functional.cross_entropy(expected, labels, reduction="none")
            torch.testing.assert_close(predictions["loss"].float(), losses, rtol=0, atol=1e-5)
            assert predictions["label"].equal(labels)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("words", [["a", "b", "c"], ["lovely one", "lovely two", "dull"]])
def test_the_words_of_a_row_are_one_row_where_they_can_branch(
    words: list[str],
    together: bool,
    model: PreTrainedModel,
    plain: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(label_scores, "can_share", lambda model: together)
    task = asking(words).meet(plain, POSITIONS)
    examples, read = encoded(task, plain), list[int]()
    forward = model.model.forward
    monkeypatch.setattr(
        model.model, "forward", lambda **given: read.append(given["input_ids"].shape[0]) or forward(**given)
    )
    in_batches(task, model, examples, len(ROWS))
    stems = [tuple(plain(f" {word}", add_special_tokens=False)["input_ids"][:-1]) for word in words]
    own = {stem for stem in stems if not any(other[: len(stem)] == stem and other != stem for other in stems)}
    assert sum(read) == len(ROWS) * (1 if together else len(own))
    assert max(read) <= len(ROWS)  # no pass is larger than the batch


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize("words", WORDS)
def test_what_prompts_begin_with_is_run_once(
    words: list[str],
    calibrate: bool,
    attention: str,
    load: Load,
    model: PreTrainedModel,
    plain: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model.set_attn_implementation(attention)
    # Before long rows there is no room for all examples, so not all begin alike.
    task = asking(words, SOLVED, calibrate=calibrate, context=90).meet(plain, POSITIONS)
    examples, tokens = encoded(task, plain), list[int]()
    assert len(set(examples.fixed["shown"].tolist())) > 1
    forward = model.model.forward

    def counted(**given: Any) -> Any:
        tokens.append(given["input_ids"].numel())
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", counted)
    shared = in_batches(task, model, examples, 3)["logits"]
    fewer = sum(tokens)
    tokens.clear()
    torch.testing.assert_close(in_batches(task, model, examples, 3)["logits"], shared, rtol=0, atol=0)
    begun = sum(len(one) for one in task.shared if len(one) >= beginnings.FEWEST)
    assert 0 < fewer - sum(tokens) <= begun  # the second time nothing is left to run of what they share
    tokens.clear()
    monkeypatch.setattr(label_scores, "can_share", lambda model: False)
    alone = in_batches(task, model, examples, 3)["logits"]
    assert sum(tokens) > 1.5 * fewer
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-5)


def test_what_is_kept_of_a_beginning_is_of_the_weights_as_they_are(
    model: PreTrainedModel, plain: PreTrainedTokenizerFast
) -> None:
    task = asking(NAMES, SOLVED).meet(plain, POSITIONS)
    examples = encoded(task, plain)
    before = in_batches(task, model, examples, 4)["logits"]
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight.mul_(2.0)
    changed = in_batches(task, model, examples, 4)["logits"]
    assert (changed - before).abs().max() > 1e-3
    beginnings._kept.clear()
    torch.testing.assert_close(in_batches(task, model, examples, 4)["logits"], changed, rtol=0, atol=0)


def test_the_probe_finds_nothing(model: PreTrainedModel, plain: PreTrainedTokenizerFast) -> None:
    from llama_experiments.tasks.task_model import TaskModel

    task = asking(NAMES, SOLVED).meet(plain, POSITIONS)
    assert probe_padding(TaskModel(model, task), encoded(task, plain), torch.device("cpu")) < 1e-5


@pytest.mark.parametrize("solved", [[], SOLVED])
def test_calibration_by_hand(
    solved: list[dict[str, Any]], model: PreTrainedModel, plain: PreTrainedTokenizerFast
) -> None:
    """The class probabilities over those of no text, the mean of three, normalized (Zhao et al. 2021)."""
    task = asking(NAMES, solved, calibrate=True).meet(plain, POSITIONS)
    examples = encoded(task, plain)
    logits = in_batches(task, model, examples, 4)["logits"]
    nothing = np.mean(
        [softmax(alone(model, plain, prompt_of({"text": text}, NAMES, solved), NAMES)) for text in CONTENT_FREE],
        axis=0,
    )
    for row, found_logits in zip(ROWS, logits.numpy(), strict=True):
        shares = softmax(alone(model, plain, prompt_of(row, NAMES, solved), NAMES)) / nothing
        np.testing.assert_allclose(softmax(found_logits), shares / shares.sum(), atol=1e-5)
    plainly = in_batches(asking(NAMES, solved).meet(plain, POSITIONS), model, examples, 4)["logits"]
    assert (plainly.softmax(1) - logits.softmax(1)).abs().max() > 1e-3
    one_by_one = in_batches(task, model, examples, 1, packed=True)["logits"]
    torch.testing.assert_close(one_by_one, logits, rtol=0, atol=1e-5)


def softmax(scores: Any) -> np.ndarray:
    powers = np.exp(np.asarray(scores) - np.max(scores))
    return powers / powers.sum()


def test_a_calibrated_row_is_compared_after_its_own_examples(
    model: PreTrainedModel, plain: PreTrainedTokenizerFast
) -> None:
    """Rows before which only some examples fit, in one batch with others."""
    task = asking(NAMES, SOLVED, calibrate=True, context=75).meet(plain, POSITIONS)
    rows = [{"text": "Warm.", "label": 2}, {"text": "The film was dull and the play was cold. " * 2, "label": 0}]
    examples = encoded(task, plain, rows)
    shown = examples.fixed["shown"].tolist()
    assert shown[0] > shown[1]
    for row, number, logits in zip(rows, shown, in_batches(task, model, examples, 2)["logits"], strict=True):
        left = SOLVED[2 - number :]
        nothing = [
            softmax(alone(model, plain, prompt_of({"text": text}, NAMES, left), NAMES)) for text in CONTENT_FREE
        ]
        expected = np.array(alone(model, plain, prompt_of(row, NAMES, left), NAMES)) - np.log(
            np.mean(nothing, axis=0)
        )
        np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("solved", [[], SOLVED])
def test_a_row_is_read_as_a_prompt_and_its_words(
    solved: list[dict[str, Any]], plain: PreTrainedTokenizerFast
) -> None:
    words = ["bad", "so-so", "good"]
    task = asking(words, solved).meet(plain, POSITIONS)
    read = task.as_read(encoded(task, plain), 4, plain)
    assert read == f"<s> {prompt_of(ROWS[4], words, solved)} [bad | so-so | good]"


def test_the_oldest_examples_go_first_and_it_is_told(plain: PreTrainedTokenizerFast) -> None:
    for context in range(20, 120):
        try:
            task = asking(NAMES, SOLVED, context=context).meet(plain, POSITIONS)
        except UserError:
            continue
        examples = encoded(task, plain)
        for index, row in enumerate(ROWS):
            sizes = [
                max(
                    len(plain(f"{prompt_of(row, NAMES, SOLVED[2 - number :])} {name}")["input_ids"]) for name in NAMES
                )
                for number in range(3)
            ]
            fitting = [number for number in range(3) if sizes[number] <= context]
            assert examples.fixed["shown"][index] == max(fitting, default=0)
            if fitting:
                left = SOLVED[2 - max(fitting) :]
                assert f"> {prompt_of(row, NAMES, left)} [" in task.as_read(examples, index, plain)
        findings = task.length_findings(examples)
        assert findings[FEWER].tolist() == (examples.fixed["shown"] < 2).tolist()
    assert not findings[FEWER].any()  # at the end all fit


def test_a_long_text_is_cut_not_the_template(plain: PreTrainedTokenizerFast) -> None:
    text = "The film was lovely and warm and bright and clever."
    row = [{"text": text, "label": 0}]
    whole = plain(text)["input_ids"]
    for max_length in range(2, len(whole) + 1):
        task = asking(max_length=max_length).meet(plain, POSITIONS)
        examples = encoded(task, plain, row)
        expected = plain.decode(whole[:max_length])
        assert task.as_read(examples, 0, plain) == f"{expected}\nSo: [{' | '.join(NAMES)}]"
        assert task.row_tokens(examples).tolist() == [len(whole)]
        assert task.length_findings(examples)["cut off"].tolist() == [max_length < len(whole)]


def test_a_text_that_leaves_no_room_is_cut_to_what_fits(
    model: PreTrainedModel, plain: PreTrainedTokenizerFast
) -> None:
    text = "The film was lovely and warm and bright and clever." * 2
    context = 30
    task = asking(NAMES, SOLVED, context=context).meet(plain, POSITIONS)
    examples = encoded(task, plain, [{"text": text, "label": 0}])
    prompt = task.as_read(examples, 0, plain).removeprefix("<s> ").rpartition(" [")[0]
    longest = max(len(plain(f"{prompt} {name}")["input_ids"]) for name in NAMES)
    assert context - 3 <= longest <= context
    assert text.startswith(prompt.removesuffix("\nSo:"))
    assert examples.fixed["shown"].tolist() == [0]
    assert task.length_findings(examples)["cut off"].tolist() == [True]
    expected = torch.tensor([alone(model, plain, prompt, NAMES)], dtype=torch.float64)
    torch.testing.assert_close(in_batches(task, model, examples, 1)["logits"], expected, rtol=0, atol=1e-5)


def test_examples_are_cut_as_rows_are(plain: PreTrainedTokenizerFast) -> None:
    task = asking(NAMES, [{"text": "The film was lovely and warm.", "label": 2}], max_length=4).meet(plain, POSITIONS)
    cut = plain.decode(plain("The film was lovely and warm.")["input_ids"][:4], skip_special_tokens=True)
    assert task.solved == (f"{cut}\nSo: positive",)


def test_predictions_are_those_of_a_classifier(model: PreTrainedModel, plain: PreTrainedTokenizerFast) -> None:
    task = asking(NAMES).meet(plain, POSITIONS)
    examples = encoded(task, plain)
    predictions = {name: value.numpy() for name, value in in_batches(task, model, examples, 4).items()}
    predictions |= found(examples)
    table = task.prediction_table(predictions, examples)
    best = [NAMES[int(np.argmax(logits))] for logits in predictions["logits"]]
    assert table["prediction"].tolist() == best
    right = np.mean([name == NAMES[row["label"]] for name, row in zip(best, ROWS, strict=True)])
    assert task.score(predictions, examples)["accuracy"] == pytest.approx(right)
    assert task.row_metric(table)[0].mean() == pytest.approx(right)


@pytest.mark.parametrize("words", [["good", "bad", "good"], ["good", "bad", "good enough"]])
def test_words_that_cannot_be_told_apart_are_refused(words: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"task.label_words: 'good' and 'good( enough)?' cannot be told apart"):
        asking(words).meet(tokenizer, POSITIONS)


def test_a_template_longer_than_the_context_is_refused(plain: PreTrainedTokenizerFast) -> None:
    asking(context=40).meet(plain, 64)
    with pytest.raises(UserError, match=r"task.template: .* than the 40 tokens that a prompt may have"):
        asking(template="The film was lovely. " * 9 + "{text}", context=40).meet(plain, 64)


def test_a_context_longer_than_the_models_is_refused(plain: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"technique.context: 65 tokens are more than the model's 64 positions"):
        asking(context=65).meet(plain, 64)


@pytest.mark.parametrize("template", ["Text:", "{text} {label}", "{}", "{text", ""])
def test_a_template_without_its_place_is_refused(template: str) -> None:
    with pytest.raises(SettingError, match=r"template must have the place \{text\}, no others"):
        SequenceClassification(template=template)


def test_words_are_of_the_classes_there_are() -> None:
    table = Table.from_list([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    rows = {"train": Rows("train", "a.csv", table, np.array([1, 2]), {})}
    words = {"x": "good", "y": "bad"}
    assert SequenceClassification(label_words=words).bind(rows, None).label_words == words
    with pytest.raises(UserError, match=r"task.label_words.z: there is no such class; classes: x, y"):
        SequenceClassification(label_words={**words, "z": "ugly"}).bind(rows, None)
    with pytest.raises(UserError, match=r"task.label_words: there is no word for the class 'y'"):
        SequenceClassification(label_words={"x": "good"}).bind(rows, None)
    with pytest.raises(SettingError, match="label_words must not be empty"):
        SequenceClassification(label_words={"x": "good", "y": " "})


def test_all_that_the_tokens_depend_on_is_in_the_key(plain: PreTrainedTokenizerFast) -> None:
    tasks = [
        asking(),
        asking(solved=SOLVED),
        asking(solved=SOLVED[::-1]),
        asking(["x", "y", "z"]),
        asking(template="{text}\nNow:"),
        asking(context=90),
        asking(calibrate=True),
        asking(max_length=9),
    ]
    settings = [task.meet(plain, POSITIONS).encoding_settings() for task in tasks]
    other = dataclasses.replace(tasks[1], prompting=dataclasses.replace(tasks[1].prompting, separator=" "))
    settings.append(other.meet(plain, POSITIONS).encoding_settings())
    assert all(one != two for at, one in enumerate(settings) for two in settings[:at])


def test_a_fine_tuned_classifier_knows_nothing_of_templates() -> None:
    plainly = SequenceClassification(labels=NAMES)
    templated = SequenceClassification(labels=NAMES, template="{text}!", label_words=dict.fromkeys(NAMES, "x"))
    assert plainly.encoding_settings() == templated.encoding_settings()
