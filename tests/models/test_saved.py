"""What a run saves is plain transformers': the same logits, batched or not, in pipelines and as a next checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from llama_experiments.models.base import quiet_transformers
from tests.conftest import save_tiny_llama, sentences, write_table
from tests.models.checkpoints import SENTIMENT, TEXT, change, differing, load, store, stored
from tests.runs.made import run_command

# Longest first, cut at max_length; spelled-out special tokens; runs of spaces; characters no piece has.
ODD = ["lovely and " * 30, "dull </s> cold", "<unk> </s>", "<s>", "  warm   and\tbright \n", "日本 🙂 lovely", "x"]
LONGEST = 48


@pytest.fixture(scope="module")
def home(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a bf16 checkpoint that knows no pad token, as the real ones are."""
    home = tmp_path_factory.mktemp("saved")
    folder = save_tiny_llama(home / "llama", tokenizer_folder)
    store(folder, {name: tensor.bfloat16() for name, tensor in stored(folder).items()})
    change(folder / "config.json", dtype="bfloat16")
    write_table(home / "train.csv", [*sentences(48)])
    write_table(home / "validation.csv", validation_rows())
    return home


def validation_rows() -> list[tuple[object, ...]]:
    odd = [(text, "positive" if at % 2 else "negative") for at, text in enumerate(ODD)]
    return [*odd, *sentences(16, start=100)]


def run(home: Path, name: str, *arguments: str) -> Path:
    data = ["dataset.train=train.csv", "dataset.validation=validation.csv", f"task.max_length={LONGEST}"]
    # Far enough from the start that the weights are the trained ones or visibly not.
    settings = ["model=local", "model.learning_rate=5e-3", "training.epochs=1", f"hydra.run.dir=outputs/{name}"]
    status, _, said = run_command(home, *settings, *data, *arguments)
    assert status == 0, said
    return home / "outputs" / name


@pytest.fixture(scope="module")
def sentiment(home: Path) -> Path:
    """A finished run of sentiment."""
    return run(home, "sentiment", "dataset=local_sentiment", "model.checkpoint=llama")


@pytest.fixture(scope="module")
def text(home: Path) -> Path:
    """A finished run of text generation."""
    columns = ["task=text_generation", "dataset=local_text_generation"]
    return run(home, "text", *columns, "model.checkpoint=llama")


def plain(run: Path, head: Any) -> tuple[Any, Any]:
    with quiet_transformers():
        return head.from_pretrained(run / "model").eval(), AutoTokenizer.from_pretrained(run / "model")


def probabilities(run: Path) -> torch.Tensor:
    """Of each class by row, as the run wrote them; [rows, classes]."""
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    assert table["row"] == list(range(1, len(validation_rows()) + 1))
    columns = [table[f"probability_{name}"] for name in ("negative", "positive")]
    return torch.tensor(columns, dtype=torch.float32).T


@pytest.mark.parametrize("size", [1, 5, 23])
def test_plain_transformers_gives_the_runs_probabilities(sentiment: Path, size: int) -> None:
    """One by one and in batches, padded by the tokenizer's own rules."""
    model, tokenizer = plain(sentiment, AutoModelForSequenceClassification)
    texts = [str(row[0]) for row in validation_rows()]
    found = []
    for start in range(0, len(texts), size):
        batch = tokenizer(texts[start : start + size], padding=size > 1, truncation=True, return_tensors="pt")
        assert batch["input_ids"].shape[1] <= LONGEST
        with torch.no_grad():
            found.append(model(**batch).logits.softmax(dim=-1))
    torch.testing.assert_close(torch.cat(found), probabilities(sentiment), atol=1e-5, rtol=1e-5)


def test_the_longest_text_was_cut_and_the_rows_differ(sentiment: Path) -> None:
    """Else the test above would show less than it says."""
    _, tokenizer = plain(sentiment, AutoModelForSequenceClassification)
    assert len(tokenizer(ODD[0])["input_ids"]) > LONGEST == tokenizer.model_max_length
    assert probabilities(sentiment)[:, 0].std() > 0.01


def test_weights_and_config_say_what_they_are(sentiment: Path, home: Path) -> None:
    config = json.loads((sentiment / "model" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}
    assert config["dtype"] == "float32"
    tensors = stored(sentiment / "model")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    before = stored(home / "llama")
    assert tensors.keys() == before.keys() | {"score.weight"}
    assert all(tensors[name].shape == before[name].shape for name in before)  # embeddings are never resized
    assert not any(torch.equal(tensors[name], before[name].float()) for name in before)  # all were trained


@pytest.mark.parametrize("name", ["sentiment", "text"])
def test_padding_is_on_the_right_with_what_no_text_gives(name: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(name)
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    pad = json.loads((run / "model" / "config.json").read_text())["pad_token_id"]
    assert (tokenizer.padding_side, tokenizer.pad_token_id) == ("right", pad)
    assert pad not in (None, tokenizer.bos_token_id, tokenizer.eos_token_id)
    for ids in tokenizer([str(row[0]) for row in validation_rows()])["input_ids"]:
        assert ids[0] == tokenizer.bos_token_id
        assert not {pad, tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids[1:])


@pytest.mark.parametrize("size", [1, 8])
def test_the_classification_pipeline_names_the_labels(sentiment: Path, size: int) -> None:
    with quiet_transformers():
        classify = pipeline("text-classification", model=str(sentiment / "model"), device="cpu")
    texts = [str(row[0]) for row in validation_rows()]
    found = classify(texts, top_k=None, truncation=True, batch_size=size)
    told = [
        [{row["label"]: row["score"] for row in rows}[name] for name in ("negative", "positive")] for rows in found
    ]
    torch.testing.assert_close(torch.tensor(told), probabilities(sentiment), atol=1e-5, rtol=1e-5)
    best = [row["label"] for row in classify(texts, truncation=True)]
    assert best == pq.read_table(sentiment / "predictions.parquet")["prediction"].to_pylist()


def test_plain_transformers_gives_the_runs_losses_of_text(text: Path) -> None:
    """A document ends in eos; one longer than max_length is several windows that share a token."""
    model, tokenizer = plain(text, AutoModelForCausalLM)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    table = pq.read_table(text / "predictions.parquet").to_pydict()
    told: dict[int, float] = {}
    for row, loss in zip(table["row"], table["loss"], strict=True):
        told[row] = told.get(row, 0.0) + loss
    found = {}
    for row, (document, *_) in enumerate(validation_rows(), 1):
        ids = [*tokenizer(document)["input_ids"], tokenizer.eos_token_id]
        windows = [ids[start : start + LONGEST] for start in range(0, len(ids) - 1, LONGEST - 1)]
        with torch.no_grad():
            losses = [
                model(torch.tensor([window]), labels=torch.tensor([window])).loss.item() * (len(window) - 1)
                for window in windows
            ]
        found[row] = math.fsum(losses)
    assert found.keys() == told.keys()
    assert [told[row] for row in found] == pytest.approx([*found.values()], rel=1e-5, abs=1e-4)


def test_batched_logits_of_text_are_those_of_each_alone(text: Path) -> None:
    model, tokenizer = plain(text, AutoModelForCausalLM)
    texts = ["the film", "Number 3: the kettle was lovely and warm", "x"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    logits = model(**batch).logits
    for at, one in enumerate(texts):
        ids = tokenizer(one, return_tensors="pt")["input_ids"]
        torch.testing.assert_close(logits[at, : ids.shape[1]], model(ids).logits[0], atol=1e-5, rtol=1e-5)


def test_the_generation_pipeline_writes_what_the_model_says(text: Path) -> None:
    with quiet_transformers():
        write = pipeline("text-generation", model=str(text / "model"), device="cpu")
    model, tokenizer = plain(text, AutoModelForCausalLM)
    prompt = "Number 5: the film was"
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    for _ in range(12):  # the likeliest token each time, by hand
        with torch.no_grad():
            following = model(torch.tensor([ids])).logits[0, -1].argmax().item()
        if following == tokenizer.eos_token_id:
            break
        ids.append(following)
    new = ids[start:]
    assert len(set(new)) > 1
    (found,) = write(prompt, max_new_tokens=12, do_sample=False, return_tensors=True)
    assert [token for token in found["generated_token_ids"] if token != tokenizer.eos_token_id] == ids
    # transformers 5.23 decodes the new tokens on their own, which loses the space that a first word begins with.
    (found,) = write(prompt, max_new_tokens=12, do_sample=False)
    assert found["generated_text"] == prompt + tokenizer.decode(new, skip_special_tokens=True)
    assert tokenizer.decode(ids, skip_special_tokens=True).startswith(prompt)


def test_a_saved_classifier_is_the_next_runs_checkpoint(sentiment: Path, home: Path) -> None:
    """It goes on where the first run ended, with its head; a language model cannot be made of it."""
    again = run(home, "again", "dataset=local_sentiment", f"model.checkpoint={sentiment / 'model'}")
    first = [json.loads(line) for line in (sentiment / "epochs.jsonl").read_text().splitlines()]
    second = [json.loads(line) for line in (again / "epochs.jsonl").read_text().splitlines()]
    assert second[0]["eval_loss"] == pytest.approx(first[1]["eval_loss"], abs=1e-6)
    assert first[0]["eval_loss"] != pytest.approx(first[1]["eval_loss"], abs=0.01)
    model = json.loads((again / "environment.json").read_text())["model"]
    assert (model["fresh"], model["left_over"]) == ([], [])
    loaded = load(sentiment / "model", SENTIMENT)
    assert differing(loaded.model, stored(sentiment / "model")) == []
    status, _, said = run_command(
        home, "model=local", f"model.checkpoint={sentiment / 'model'}", "task=text_generation",
        "dataset=local_text_generation", "dataset.train=train.csv", "dataset.validation=validation.csv",
        "task.max_length=48",
    )  # fmt: skip
    assert status == 2
    assert "has no place in this model: score.weight" in said


def test_a_saved_language_model_is_the_next_runs_checkpoint(text: Path) -> None:
    tensors = stored(text / "model")
    assert differing(load(text / "model", TEXT).model, tensors) == []
    further = load(text / "model", SENTIMENT)
    assert differing(further.model, tensors) == further.fresh == ["score.weight"]
    assert further.model.config.pad_token_id == json.loads((text / "model/config.json").read_text())["pad_token_id"]
