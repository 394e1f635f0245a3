"""Classification: tokens, the loss, what padding may not change, and what the predictions say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel
from datasets import Dataset as Table
from tokenizers.processors import TemplateProcessing

from llama_experiments.data.examples import Examples
from llama_experiments.data.rows import Rows
from llama_experiments.errors import SettingError, UserError
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.classification import SequenceClassification
from tests.tasks.conftest import Load, batch_of, examples_of, found, gradients, no_gradient, with_padding_of

TASK = SequenceClassification(labels=["negative", "neutral", "positive"])
# Of unlike lengths; 0 is a real token here, at the end of a row too, and a row may be nothing else.
ROWS = [[1, 30, 31, 32, 33, 34, 35, 36], [1, 40, 0], [1, 50, 51, 52, 0, 0], [0], [1, 60, 61, 62, 63]]
LABELS = [0, 2, 1, 1, 0]


def rows_of(labels: list[Any], table: Table | None = None) -> Rows:
    table = table or Table.from_dict({"text": ["some text"] * len(labels), "label": labels})
    return Rows("train", "rows.csv", table, np.arange(len(labels)) + 1, {})


def test_rows_become_tokens_cut_to_the_length(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    texts = ["short", "a longer text about a kettle and a train", ""]
    encoded = SequenceClassification(max_length=6).encode({"text": texts, "label": [1, 0, 1]}, 10, tokenizer)
    whole = tokenizer(texts)["input_ids"]
    assert max(map(len, whole)) > 6
    assert encoded == {
        "input_ids": [row[:6] for row in whole],
        "tokens": [len(row) for row in whole],
        "label": [1, 0, 1],
        "row": [10, 11, 12],
        "count": [1, 1, 1],
    }
    assert all(row[0] == tokenizer.bos_token_id for row in encoded["input_ids"])


def test_encoding_leaves_the_tokenizer_as_it_was(tokenizer_folder: Path) -> None:
    """A cut set on the tokenizer would stay there, and change every later use."""
    tokenizer = load_tokenizer(tokenizer_folder)
    before = tokenizer.backend_tokenizer.to_str()
    SequenceClassification(max_length=2).encode({"text": ["one two three"], "label": [0]}, 0, tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before


def test_loss_and_logits_are_transformers_own_with_a_mask(load: Load) -> None:
    """Ours uses none. Theirs pools at the last token that is no pad token, so pad with one that no row has."""
    model, batch = load(TASK).eval(), batch_of(ROWS, LABELS)
    model.config.pad_token_id = 7
    masked = with_padding_of(7, batch)
    mask = (torch.arange(masked["input_ids"].shape[1]) < batch["lengths"][:, None]).long()
    ours = no_gradient(TASK, model, batch)
    with torch.no_grad():
        theirs = model(input_ids=masked["input_ids"], attention_mask=mask, labels=batch["label"])
    assert ours.count == len(ROWS)
    assert float(ours.loss) / ours.count == pytest.approx(float(theirs.loss), abs=1e-6)
    torch.testing.assert_close(ours.predictions["logits"], theirs.logits, rtol=0, atol=1e-5)


def test_a_row_means_the_same_alone_and_in_any_company(load: Load) -> None:
    model = load(TASK).eval()
    together = no_gradient(TASK, model, batch_of(ROWS, LABELS)).predictions
    for row, label, logits, loss in zip(ROWS, LABELS, together["logits"], together["loss"], strict=True):
        alone = no_gradient(TASK, model, batch_of([row], [label])).predictions
        torch.testing.assert_close(alone["logits"][0], logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(alone["loss"][0], loss, rtol=0, atol=1e-5)


@pytest.mark.parametrize("token", [0, 2, 36, 319])
def test_what_stands_in_the_padding_changes_no_bit(token: int, load: Load) -> None:
    model, batch = load(TASK), batch_of(ROWS, LABELS)
    wider = with_padding_of(3, batch)
    expected, found = no_gradient(TASK, model, wider), no_gradient(TASK, model, with_padding_of(token, batch))
    assert torch.equal(found.predictions["logits"], expected.predictions["logits"])
    ours, theirs = gradients(TASK, model, wider), gradients(TASK, model, with_padding_of(token, batch))
    assert all(torch.equal(gradient, theirs[name]) for name, gradient in ours.items())
    assert ours.keys() == dict(model.named_parameters()).keys()


def test_token_0_is_real_where_the_length_says_so(load: Load) -> None:
    model = load(TASK).eval()
    with_it, without = (no_gradient(TASK, model, batch_of([row], [0])) for row in ([1, 40, 0], [1, 40]))
    assert (with_it.predictions["logits"] - without.predictions["logits"]).abs().max() > 1e-3


def test_the_loss_is_a_sum(load: Load) -> None:
    """A batch's loss is the sum of its parts', so no batch size can weigh a row more than another."""
    model = load(TASK).eval()
    whole = no_gradient(TASK, model, batch_of(ROWS, LABELS))
    parts = [no_gradient(TASK, model, batch_of(ROWS[cut], LABELS[cut])) for cut in (slice(0, 1), slice(1, 5))]
    assert float(whole.loss) == pytest.approx(sum(float(part.loss) for part in parts), abs=1e-5)
    assert float(whole.loss) == pytest.approx(float(whole.predictions["loss"].sum()), abs=1e-6)
    assert whole.count == sum(part.count for part in parts)


@pytest.mark.parametrize("ends", ["", "</s>", "</s></s>"])
def test_rows_are_cut_as_the_tokenizer_itself_would(ends: str, tokenizer_folder: Path) -> None:
    """Special tokens after the text stay: a model may have learned to read a text's end off them."""
    tokenizer = load_tokenizer(tokenizer_folder)
    backend = tokenizer.backend_tokenizer
    if ends:
        single = " ".join(["<s>", "$A", *["</s>"] * ends.count("</s>")])
        backend.post_processor = TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    texts = ["", "a", "a longer text about a kettle </s> and a train", "one two three " * 20]
    for length in range(4, 12):
        ours = SequenceClassification(max_length=length).encode({"text": texts, "label": [0] * 4}, 0, tokenizer)
        backend.enable_truncation(length)
        assert ours["input_ids"] == [encoding.ids for encoding in backend.encode_batch(texts)]
        backend.no_truncation()
        assert ours["tokens"] == [len(encoding.ids) for encoding in backend.encode_batch(texts)]


def test_metrics_of_three_classes() -> None:
    logits = np.log([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.7, 0.2]])
    score = TASK.score({"logits": logits, "label": np.array([0, 1, 1, 2])}, examples_of([[1]] * 4))
    assert score == {
        "accuracy": 0.5,
        "macro_f1": pytest.approx((2 / 3 + 1 / 2 + 0) / 3),
        "calibration_error": pytest.approx((abs(1 - 0.8) + abs(0 - 0.6) + abs(1 - 0.5) + abs(0 - 0.7)) / 4),
        "precision_negative": 0.5,
        "recall_negative": 1.0,
        "precision_neutral": 0.5,
        "recall_neutral": 0.5,
        "precision_positive": 0.0,
        "recall_positive": 0.0,
    }


def test_two_classes_have_an_auc_by_the_second() -> None:
    task = SequenceClassification(labels=["bad", "good"])
    logits = np.array([[2.0, 0], [1.0, 0], [0.5, 0], [0, 1.0]])
    predictions = {"logits": logits, "label": np.array([0, 1, 0, 1])}
    score = task.score(predictions, examples_of([[1]] * 4))
    assert (score["auc"], score["accuracy"]) == (0.75, 0.75)
    predictions["label"] = np.ones(4, dtype=int)
    assert "auc" not in task.score(predictions, examples_of([[1]] * 4))


def test_a_model_that_diverged_is_scored_without_a_word() -> None:
    logits = np.full((2, 3), np.nan)
    score = TASK.score({"logits": logits, "label": np.array([0, 1])}, examples_of([[1]] * 2))
    assert np.isnan(score["calibration_error"])


def test_the_table_of_predictions_has_names_and_probabilities() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=np.float32)) + 300  # a constant is nothing
    examples = examples_of([[1], [2]])
    predictions = {"logits": logits, "label": np.array([0, 1]), "loss": np.array([0.5, 2.0]), **found(examples)}
    table = TASK.prediction_table(predictions, examples)
    assert (table["row"].tolist(), table["loss"].tolist(), table["count"].tolist()) == ([1, 2], [0.5, 2.0], [1, 1])
    assert table["label"].tolist() == ["negative", "neutral"]
    assert table["prediction"].tolist() == ["negative", "positive"]
    assert table["probability"] == pytest.approx([0.7, 0.6], abs=1e-4)
    shares = np.stack([table[f"probability_{name}"] for name in TASK.names], axis=1)
    np.testing.assert_allclose(shares, [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], atol=1e-4)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)


def test_names_are_given_or_the_data_sets_or_those_that_occur() -> None:
    occurring = {"train": rows_of(["good", "bad", "good"])}
    assert SequenceClassification().bind(occurring, None).names == ["bad", "good"]
    assert SequenceClassification().bind(occurring, ["good", "bad"]).names == ["good", "bad"]
    assert SequenceClassification(labels=["x", "y"]).bind(occurring, ["good", "bad"]).names == ["x", "y"]
    features = Table.from_dict({"text": ["a", "b"], "label": [0, 1]}).cast_column(
        "label", ClassLabel(names=["n", "p"])
    )
    assert SequenceClassification().bind({"train": rows_of([0, 1], features)}, None).names == ["n", "p"]


def test_numbers_as_names_are_in_the_order_of_numbers() -> None:
    bound = SequenceClassification().bind({"train": rows_of(["10", "9", "-1"])}, None)
    assert bound.names == ["-1", "9", "10"]
    assert bound.prepared(rows_of(["9", "10"])).table["label"][:] == [1, 2]


def test_labels_become_indices_into_the_names() -> None:
    task = SequenceClassification(labels=["bad", "good"])
    assert task.prepared(rows_of(["good", "bad", "good"])).table["label"][:] == [1, 0, 1]
    assert task.prepared(rows_of([1, 0])).table["label"][:] == [1, 0]
    with pytest.raises(UserError, match=r"row 2 of rows\.csv has the label 'odd'"):
        task.prepared(rows_of(["good", "odd"]))


def test_the_model_knows_the_names(load: Load) -> None:
    config = load(TASK).config
    assert config.num_labels == 3
    assert config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert config.label2id == {"negative": 0, "neutral": 1, "positive": 2}


@pytest.mark.parametrize("labels", [["one"], [], ["a", "a"]])
def test_fewer_than_two_names_are_refused(labels: list[str]) -> None:
    with pytest.raises(SettingError, match="labels must be null or two or more different names"):
        SequenceClassification(labels=labels)


def test_texts_of_nothing_are_left_out() -> None:
    reasons = TASK.reasons_to_leave_out({"text": ["a", "", " \n", None, 3, "0"], "label": [0] * 6})
    assert [reason is None for reason in reasons] == [True, False, False, False, False, True]


def weighted_batch(task: SequenceClassification) -> tuple[Examples, dict[str, torch.Tensor]]:
    columns = {
        "input_ids": ROWS,
        "row": range(5),
        "count": [1] * 5,
        "label": LABELS,
        "tokens": [len(r) for r in ROWS],
    }
    examples = task.weighted(Examples(pa.table({name: list(values) for name, values in columns.items()})))
    return examples, examples.batch(np.arange(5))


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ({"negative": 3.0}, [3.0, 1.0, 1.0]),
        ({"neutral": 0.5, "positive": 4.0}, [1.0, 0.5, 4.0]),
        ("balanced", [5 / 6, 5 / 6, 5 / 3]),  # LABELS are 2, 2 and 1
    ],
)
def test_weights_enter_the_objective_as_in_torch_and_nothing_else(
    given: Any, weights: list[float], load: Load
) -> None:
    task = SequenceClassification(labels=TASK.names, class_weights=given)
    model = load(task)
    examples, batch = weighted_batch(task)
    plain = no_gradient(TASK, model, batch_of(ROWS, LABELS))
    output = no_gradient(task, model, batch)
    assert torch.equal(output.loss, plain.loss)
    assert plain.objective is None
    assert output.objective is not None
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights))(plain.predictions["logits"], batch["label"])
    assert float(output.objective) / examples.weights.sum() == pytest.approx(float(theirs), abs=1e-6)


def test_without_weights_an_example_counts_for_its_items() -> None:
    examples, batch = weighted_batch(TASK)
    assert examples.weights is examples.counts
    assert "weight" not in batch


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_positive_numbers(weight: float) -> None:
    with pytest.raises(SettingError, match="class_weights must be positive numbers"):
        SequenceClassification(class_weights={"negative": weight})


def test_weights_of_a_class_that_is_none() -> None:
    task = SequenceClassification(class_weights={"postive": 2.0})
    with pytest.raises(UserError, match=r"task\.class_weights\.postive: .* did you mean 'positive'\?"):
        task.bind({"train": rows_of(["positive", "negative"])}, None)


def test_sizes_of_classes_are_told_by_name() -> None:
    task = SequenceClassification(labels=["bad", "good", "odd"])
    assert task.class_sizes(task.prepared(rows_of(["good", "bad", "good"]))) == {"bad": 1, "good": 2, "odd": 0}


def test_what_the_length_does_to_rows(tokenizer_folder: Path) -> None:
    texts = ["short", "a longer text about a kettle and a train"]
    tokenizer = load_tokenizer(tokenizer_folder)
    whole = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    for length, cut in ((whole[1], [False, False]), (whole[1] - 1, [False, True]), (2, [True, True])):
        task = SequenceClassification(max_length=length)
        examples = Examples(pa.table(task.encode({"text": texts, "label": [0, 1]}, 0, tokenizer)))
        assert task.row_tokens(examples).tolist() == whole
        assert task.length_findings(examples)["cut off"].tolist() == cut
