"""The causal language model: every learned token is predicted once, and a chunked loss is the plain one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from llama_experiments.data.examples import Examples
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks import cross_entropy as cross_entropy_module
from llama_experiments.tasks import language_modelling
from llama_experiments.tasks.language_modelling import Document, windows
from llama_experiments.tasks.text_generation import TextGeneration
from tests.tasks.conftest import Load, batch_of, gradients, no_gradient, with_padding_of

TASK = TextGeneration()
# Of unlike lengths; 0 is a real token here, at the end of a row too.
ROWS = [[1, 30, 31, 32, 33, 34, 35, 36], [1, 0], [1, 50, 51, 52, 0, 0], [0, 0, 0], [1, 60, 61, 62, 63]]
WORDS = "the kettle was warm and bright but the train was cold "


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


def document(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """A text's tokens between the beginning and the end of a document."""
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] != tokenizer.eos_token_id
    return [*ids, tokenizer.eos_token_id]


@pytest.mark.parametrize("max_length", [2, 3, 8, 25, 1000])
def test_every_token_but_the_first_is_predicted_once(max_length: int, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [WORDS[:end] for end in range(1, len(WORDS))] + [WORDS * 9]
    encoded = TextGeneration(max_length=max_length).encode({"text": texts}, 100, tokenizer)
    predicted: dict[int, list[int]] = {row: [] for row in range(100, 100 + len(texts))}
    first: dict[int, int] = {}
    for window, row, count in zip(encoded["input_ids"], encoded["row"], encoded["count"], strict=True):
        assert 2 <= len(window) <= max_length
        assert count == len(window) - 1
        # A window begins with the token that the one before it ended with.
        assert first.setdefault(row, window[0]) == window[0] or window[0] == predicted[row][-1]
        predicted[row] += window[1:]
    for row, text in enumerate(texts, 100):
        assert [first[row], *predicted[row]] == document(text, tokenizer)
    assert max_length < 1000 or len(encoded["row"]) == len(texts)


def test_windows_are_full_but_the_last(tokenizer: PreTrainedTokenizerFast) -> None:
    lengths = list(map(len, TextGeneration(max_length=8).encode({"text": [WORDS * 3]}, 0, tokenizer)["input_ids"]))
    assert len(lengths) > 5
    assert set(lengths[:-1]) == {8}


@pytest.mark.parametrize("max_length", [2, 3, 7, 20, 24, 30])
@pytest.mark.parametrize("learned", [[23], [1], [9, 10, 11], [5, 6, 7, 15, 16, 23], list(range(12, 24))])
def test_every_learned_token_is_predicted_once_and_no_other(max_length: int, learned: list[int]) -> None:
    whole = Document(list(range(100, 124)), [int(at in learned) for at in range(24)], 1)
    predicted: list[int] = []
    for ids, scored in windows(whole, max_length):
        assert len(ids) == len(scored) <= max_length
        assert not scored[0]
        assert any(scored)
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        predicted += [token for token, learn in zip(ids, scored, strict=True) if learn]
    assert predicted == [100 + at for at in learned]


def test_a_long_beginning_that_is_only_read_is_cut_no_further_than_needed() -> None:
    def of(learned: int, max_length: int) -> list[list[int]]:
        return [
            ids for ids, _ in windows(Document(list(range(30)), [0] * (30 - learned) + [1] * learned, 1), max_length)
        ]

    assert of(5, 12) == [list(range(18, 30))]
    assert of(29, 12) == [list(range(12)), list(range(11, 23)), list(range(22, 30))]
    assert of(15, 12) == [list(range(7, 19)), list(range(18, 30))]
    assert of(5, 30) == of(5, 100) == [list(range(30))]


def test_the_very_first_token_is_told_by_nothing() -> None:
    assert list(windows(Document([5], None, 1), 8)) == []
    assert list(windows(Document([5, 6], [1, 0], 1), 8)) == []
    assert list(windows(Document([5, 6], [1, 1], 1), 8)) == [([5, 6], [0, 1])]


def test_tokens_that_are_only_read_have_no_part_in_the_loss(load: Load) -> None:
    """Labels of -100 in transformers' own loss; in windows of their own documents of both kinds."""
    model = load(TASK).eval()
    masks = [[0, 0, 0, 1, 1, 0, 0, 1], [0, 1], [0, 0, 0, 0, 0, 1], [0, 1, 1], [0, 0, 1, 0, 1]]
    table = pa.table({"input_ids": ROWS, "scored": masks, "row": range(5), "count": [sum(mask) for mask in masks]})
    batch = Examples(table).batch(np.arange(5))
    labels = batch["input_ids"].masked_fill(batch["scored"] == 0, -100)
    with torch.no_grad():
        theirs = model(input_ids=batch["input_ids"], labels=labels).loss
    ours = no_gradient(TASK, model, batch)
    assert ours.count == 9
    assert float(ours.loss) / 9 == pytest.approx(float(theirs), abs=1e-6)
    assert float(ours.predictions["loss"].sum()) == pytest.approx(float(ours.loss), abs=1e-5)


def test_a_tokenizer_that_writes_the_end_itself_gets_no_second_one(tokenizer_folder: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(tokenizer_folder)
    special = [("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A </s>", None, special)
    (ids,) = TASK.encode({"text": [WORDS]}, 0, tokenizer)["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id


def test_the_end_spelled_out_is_text(tokenizer: PreTrainedTokenizerFast) -> None:
    (ids,) = TASK.encode({"text": ["one</s>two"]}, 0, tokenizer)["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1


def test_losses_are_transformers_own_with_a_mask(load: Load) -> None:
    """With a mask, labels of -100 and one row at a time."""
    model, batch = load(TASK).eval(), batch_of(ROWS)
    mask = torch.arange(batch["input_ids"].shape[1]) < batch["lengths"][:, None]
    labels = batch["input_ids"].masked_fill(~mask, -100)
    ours = no_gradient(TASK, model, batch)
    with torch.no_grad():
        theirs = model(input_ids=batch["input_ids"], attention_mask=mask.long(), labels=labels).loss
        by_row = [
            model(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss * (len(row) - 1) for row in ROWS
        ]
    assert ours.count == sum(len(row) - 1 for row in ROWS)
    assert float(ours.loss) / ours.count == pytest.approx(float(theirs), abs=1e-6)
    assert ours.predictions["loss"].tolist() == pytest.approx([float(loss) for loss in by_row], abs=1e-4)
    assert float(ours.loss) == pytest.approx(float(ours.predictions["loss"].sum()), abs=1e-4)


@pytest.mark.parametrize("token", [0, 2, 36, 319])
def test_what_stands_in_the_padding_changes_no_bit(token: int, load: Load) -> None:
    model, batch = load(TASK), batch_of(ROWS)
    wider = with_padding_of(3, batch)
    expected, found = no_gradient(TASK, model, wider), no_gradient(TASK, model, with_padding_of(token, batch))
    assert torch.equal(found.predictions["loss"], expected.predictions["loss"])
    assert found.count == expected.count
    ours, theirs = gradients(TASK, model, wider), gradients(TASK, model, with_padding_of(token, batch))
    assert all(torch.equal(gradient, theirs[name]) for name, gradient in ours.items())
    assert ours.keys() == dict(model.named_parameters()).keys()


def test_a_row_means_the_same_alone_and_in_any_company(load: Load) -> None:
    model = load(TASK).eval()
    together = no_gradient(TASK, model, batch_of(ROWS)).predictions["loss"]
    alone = [no_gradient(TASK, model, batch_of([row])).predictions["loss"] for row in ROWS]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 4, 7, 18, 19, 1000])  # at once; there are 19
def test_a_loss_in_chunks_is_the_plain_one(tokens: int, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = load(TASK), batch_of(ROWS)
    assert sum(len(row) - 1 for row in ROWS) == 19
    hidden = model.model(input_ids=batch["input_ids"]).last_hidden_state
    logits = model.lm_head(hidden)[:, :-1]
    targets = batch["input_ids"][:, 1:].masked_fill(torch.arange(1, 8) >= batch["lengths"][:, None], -100)
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    loss.backward()
    plain = loss.item()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    held: list[int] = []
    linear = cross_entropy_module.linear
    monkeypatch.setattr(
        cross_entropy_module, "linear", lambda states, weight: held.append(len(states)) or linear(states, weight)
    )
    monkeypatch.setattr(language_modelling, "LOGITS_AT_ONCE", tokens * model.config.vocab_size)
    found = gradients(TASK, model, batch)
    assert max(held) == min(tokens, 19)
    assert TASK.output(model, batch).loss.item() == pytest.approx(plain, abs=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=2e-6 * largest)
    with torch.inference_mode():
        assert TASK.output(model, batch).loss.item() == pytest.approx(plain, abs=1e-5)


class Doubled(torch.nn.Linear):
    """A head that is more than its matrix, as one with an adapter beside it."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return super().forward(states) * 2


@pytest.mark.parametrize("kind", [torch.nn.Linear, Doubled])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("moving", ["both", "hidden", "weight"])
def test_gradients_of_a_head_are_cross_entropys(kind: type[torch.nn.Linear], precision: str, moving: str) -> None:
    torch.manual_seed(0)
    head = kind(8, 50, bias=False)
    hidden, targets = torch.randn(21, 8), torch.randint(0, 50, (21,))
    hidden.requires_grad_(moving != "weight")
    head.weight.requires_grad_(moving != "hidden")
    wanted = [tensor for tensor in (hidden, head.weight) if tensor.requires_grad]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        losses = cross_entropy_module.token_losses(head, hidden, targets, chunk=5)
        plain = cross_entropy(head(hidden).float(), targets, reduction="none")
    torch.testing.assert_close(losses, plain, rtol=1e-6, atol=1e-6)
    found, expected = (torch.autograd.grad(each.sum() * 0.37, wanted) for each in (losses, plain))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0.02 if precision == "bf16" else 1e-6)


def test_tokens_with_weights_of_their_own_are_refused() -> None:
    """The gradient that was kept is of the plain sum: anything else would be learned from wrongly, and silently."""
    hidden = torch.randn(4, 8, requires_grad=True)
    losses = cross_entropy_module.token_losses(torch.nn.Linear(8, 50, bias=False), hidden, torch.arange(4), chunk=3)
    with pytest.raises(NotImplementedError, match="weights of their own"):
        (losses * torch.arange(4)).sum().backward()


def test_a_vocabulary_wider_than_a_chunk_still_goes_a_token_at_a_time(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = load(TASK), batch_of(ROWS)
    expected = TASK.output(model, batch).loss.item()
    monkeypatch.setattr(language_modelling, "LOGITS_AT_ONCE", 10)
    assert TASK.output(model, batch).loss.item() == pytest.approx(expected, abs=1e-5)


def scored(nats: list[float], counts: list[int], sizes: list[int]) -> dict[str, float]:
    table = pa.table({"input_ids": [[1, 2]] * len(sizes), "row": range(len(sizes)), "count": counts, "bytes": sizes})
    predictions = {"loss": np.array(nats), "count": np.array(counts)}
    return TASK.score(predictions, Examples(table))


def test_perplexity_is_of_a_mean_over_tokens_and_bits_are_of_a_sum_over_bytes() -> None:
    """The second example is a further window: its bytes were counted with the first."""
    found = scored([2.0, 10.0], [1, 5], [24, 0])
    assert found == {"perplexity": pytest.approx(math.exp(2.0)), "bits_per_byte": pytest.approx(0.5 / math.log(2))}


def test_a_loss_beyond_all_numbers_has_a_perplexity() -> None:
    assert math.isfinite(scored([1e6], [1], [1])["perplexity"])


def test_bits_per_byte_are_of_the_original_text(load: Load, tokenizer: PreTrainedTokenizerFast) -> None:
    """By hand: the nats of all its tokens, over its bytes in UTF-8, where a letter may be several."""
    text = "Zoë drank tea \u2013 the kettle was warm. " * 4
    ids = document(text, tokenizer)
    model = load(TASK).eval()
    with torch.no_grad():
        nats = float(model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1)
    assert len(text.encode()) > len(text)
    for max_length in (1000, len(ids) // 3):
        task = TextGeneration(max_length=max_length)
        table = pa.table(task.encode({"text": [text]}, 0, tokenizer))
        assert (len(table) > 1) == (max_length < 1000)
        examples = Examples(table)
        loss = task.output(model, examples.batch(np.arange(len(table)))).predictions["loss"]
        found = task.score({"loss": loss.numpy(), "count": examples.counts}, examples)["bits_per_byte"]
        if max_length == 1000:
            assert found == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-6)
        assert examples.fixed["bytes"].sum() == len(text.encode())


def test_the_head_is_the_checkpoints() -> None:
    """A language model's head is no new one: it has to be in the checkpoint."""
    assert not TextGeneration.head_may_be_fresh
    assert TextGeneration().model_class().__name__ == "LlamaForCausalLM"
