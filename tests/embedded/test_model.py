"""The embedded model: what it is like, what it can do untuned, and how it comes into the package."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from llama_experiments.embedded import adopt
from llama_experiments.embedded.generate import HERE
from llama_experiments.models.tokenizer import load_tokenizer

MODEL = HERE / "model"


def test_it_is_tiny_and_has_no_pad_token() -> None:
    config = json.loads((MODEL / "config.json").read_text())
    parameters = sum(tensor.numel() for tensor in load_file(MODEL / "model.safetensors").values())
    assert parameters < 1_000_000
    assert config["max_position_embeddings"] >= 256
    assert config["pad_token_id"] is None
    assert load_tokenizer(MODEL).pad_token is None
    shipped = [path for folder in ("data", "model", "tokenizer") for path in (HERE / folder).iterdir()]
    assert sum(path.stat().st_size for path in shipped) < 5_000_000


def test_its_tokenizer_is_the_generators() -> None:
    text = "Review: The soup was  anything but lovely.\nSentiment: negative"
    assert load_tokenizer(MODEL)(text).input_ids == load_tokenizer(HERE / "tokenizer")(text).input_ids


def test_untuned_it_can_be_prompted() -> None:
    """Zero-shot, by the likelihood of each label word: at least five points over the larger class's share."""
    tokenizer, model = load_tokenizer(MODEL), LlamaForCausalLM.from_pretrained(MODEL).eval()
    words = {name: tokenizer(f"Sentiment: {name}").input_ids for name in ("negative", "positive")}
    with (HERE / "data" / "reviews.validation.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    right = 0
    for row in rows:
        prompt = tokenizer(f"Review: {row['sentence']}\nSentiment:").input_ids
        scores = {}
        for name, ids in words.items():
            answer = ids[len(tokenizer("Sentiment:").input_ids) :]
            with torch.inference_mode():
                logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(dim=-1)
            places = range(len(prompt) - 1, len(prompt) - 1 + len(answer))
            scores[name] = sum(float(logits[place, token]) for place, token in zip(places, answer, strict=True))
        right += max(scores, key=scores.__getitem__) == row["label"]
    shares = [sum(row["label"] == name for row in rows) / len(rows) for name in words]
    assert right / len(rows) >= max(shares) + 0.05
    assert right / len(rows) < 0.9  # and leaves something to learn


def test_adopting_keeps_the_weights_and_drops_the_pad_token(tmp_path: Path) -> None:
    trained = tmp_path / "run" / "model"
    model = LlamaForCausalLM.from_pretrained(MODEL)
    model.config.pad_token_id = model.generation_config.pad_token_id = 0
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    model.save_pretrained(trained)
    adopt.main([str(tmp_path / "run"), "--output", str(tmp_path / "adopted")])
    before, after = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "adopted"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "adopted" / "config.json").read_text())["pad_token_id"] is None


def test_pretraining_starts_as_it_did(tmp_path: Path) -> None:
    """The first losses of the command that made the model: a change to corpus, order, model or loop shows here."""
    from llama_experiments.command_line.composition import compose_command
    from llama_experiments.config import build
    from llama_experiments.data.rows import load_rows
    from llama_experiments.data.tokenized import encode
    from llama_experiments.experiment import Experiment
    from llama_experiments.tasks.task_model import TaskModel
    from llama_experiments.training.device import make_accelerator
    from llama_experiments.training.loop import fit
    from llama_experiments.training.step import Step

    experiment = build(compose_command(["experiment=pretrain_embedded"]).tree, Experiment)
    rows = load_rows(experiment.dataset, experiment.task)
    loaded = experiment.model.load(experiment.task, experiment.seed)
    examples = {part: encode(rows[part], experiment.task, loaded.tokenizer, tmp_path) for part in rows}
    losses: list[float] = []

    class Enough(Exception):
        pass

    def note(step: Step) -> None:
        losses.append(step.loss / step.count)
        if len(losses) == 5:
            raise Enough

    epochs = fit(
        TaskModel(loaded.model, experiment.task),
        examples["train"],
        examples["validation"],
        training=experiment.training,
        groups=experiment.technique.parameter_groups(loaded.model),
        seed=experiment.seed,
        accelerator=make_accelerator(experiment.training),
        on_step=note,
    )
    next(epochs)  # epoch 0
    with pytest.raises(Enough):
        next(epochs)
    assert losses == pytest.approx(FIRST_LOSSES, abs=1e-4)


FIRST_LOSSES = [6.944953, 6.930695, 6.896579, 6.863717, 6.93393]  # nats a token
