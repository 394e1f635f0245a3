"""Text generation's three formats: which columns, which rows, which tokens are learned, and how many bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from llama_experiments.command_line.composition import compose_command
from llama_experiments.config import build
from llama_experiments.data.rows import Rows, load_rows
from llama_experiments.data.tokenized import encode
from llama_experiments.errors import UserError
from llama_experiments.experiment import Experiment
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.preflight import problems
from llama_experiments.tasks.text_generation import TextGeneration
from tests.tasks.tokenizers import LLAMA_2, byte_tokenizer, sentencepiece_tokenizer

COMPLETION, CHAT = TextGeneration(format="completion"), TextGeneration(format="messages")
HELLO = [{"role": "user", "content": "Was it warm?"}, {"role": "assistant", "content": "It was cold."}]
BACKWARDS = [HELLO[1], HELLO[0]]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="module", params=["sentencepiece", "bytes"])
def either(request: pytest.FixtureRequest, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "sentencepiece":
        return load_tokenizer(tokenizer_folder)
    return byte_tokenizer(tmp_path_factory.mktemp("bytes"), None)


def split(encoded: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, str]]:
    """What is only read and what is learned of each window, as texts."""
    return [
        tuple(
            tokenizer.decode([token for token, scored in zip(ids, mask, strict=True) if scored == learned])
            for learned in (0, 1)
        )
        for ids, mask in zip(encoded["input_ids"], encoded["scored"], strict=True)
    ]  # type: ignore[misc]


def test_a_completion_is_learned_and_its_prompt_is_only_read(either: PreTrainedTokenizerFast) -> None:
    pairs = {
        "prompt": ["The kettle was", "The café:", "", "The film "],
        "completion": [" warm.", " dull", "Hm.", "x"],
    }
    encoded = COMPLETION.encode(pairs, 0, either)
    bos, eos = either.bos_token, either.eos_token
    found = [(read.removeprefix(bos).strip(), learned) for read, learned in split(encoded, either)]
    assert [read for read, _ in found] == [prompt.strip() for prompt in pairs["prompt"]]
    assert all(learned.endswith(eos) for _, learned in found)
    said = [learned.removesuffix(eos).strip() for _, learned in found]
    assert said == [completion.strip() for completion in pairs["completion"]]
    assert encoded["bytes"] == [6, 5, 3, 1]
    assert encoded["count"] == [sum(mask) for mask in encoded["scored"]]
    whole = [either(prompt + completion)["input_ids"] for prompt, completion in zip(*pairs.values(), strict=True)]
    assert encoded["input_ids"] == [[*ids, either.eos_token_id] for ids in whole]


def test_the_end_spelled_out_in_a_prompt_or_a_completion_is_text(either: PreTrainedTokenizerFast) -> None:
    eos = either.eos_token
    encoded = COMPLETION.encode({"prompt": [f"a {eos} b"], "completion": [f" c {eos} d"]}, 0, either)
    assert encoded["input_ids"][0].count(either.eos_token_id) == 1
    assert either.decode(encoded["input_ids"][0]).count(eos) == 3


def test_a_prompt_longer_than_the_window_loses_its_beginning(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = "the kettle was warm and bright but the train was cold " * 5
    task = TextGeneration(format="completion", max_length=24)
    encoded = task.encode({"prompt": [prompt], "completion": ["and dull."]}, 3, tokenizer)
    ((read, learned),) = split(encoded, tokenizer)
    assert len(encoded["input_ids"][0]) == 24
    assert prompt.strip().endswith(read.strip()[4:])
    assert len(read) > 20
    assert learned == "and dull.</s>"
    assert encoded["row"] == [3]


def test_bytes_of_a_long_row_are_counted_with_its_first_window(tokenizer: PreTrainedTokenizerFast) -> None:
    long = " the kettle was warm" * 8
    for task, columns in (
        (TextGeneration(max_length=24), {"text": [long, "The film."]}),
        (TextGeneration(max_length=24, format="completion"), {"prompt": ["ä", "b"], "completion": [long, " dull"]}),
    ):
        encoded = task.encode(columns, 0, tokenizer)
        windows = encoded["row"].count(0)
        assert windows > 2
        sizes = [len(text.encode()) for text in list(columns.values())[-1]]
        assert encoded["bytes"] == [sizes[0], *[0] * (windows - 1), sizes[1]]


def test_texts_are_learned_whole_and_carry_no_mask(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = TextGeneration().encode({"text": ["The film.", "The café."]}, 0, tokenizer)
    assert "scored" not in encoded
    assert encoded["bytes"] == [9, 10]
    assert encoded["count"] == [len(ids) - 1 for ids in encoded["input_ids"]]


@pytest.mark.parametrize(
    ("task", "columns"),
    [(TextGeneration(), ("text",)), (COMPLETION, ("prompt", "completion")), (CHAT, ("messages",))],
)
def test_the_format_tells_the_columns(task: TextGeneration, columns: tuple[str, ...]) -> None:
    assert task.columns == columns
    others = [TextGeneration(), COMPLETION, CHAT]
    assert sum(task.encoding_settings() == other.encoding_settings() for other in others) == 1


def test_rows_without_anything_to_learn_are_left_out() -> None:
    reasons = COMPLETION.reasons_to_leave_out(
        {"prompt": ["a", "", None, 3, "a", "a"], "completion": ["b", "b", "b", "b", " ", None]}
    )
    empty = "an empty completion"
    assert reasons == [None, None, "no prompt", "no prompt", empty, empty]
    assert CHAT.reasons_to_leave_out({"messages": [HELLO, None]}) == [
        None,
        "messages that are no list of {role, content}",
    ]


def rows_of(chats: list[Any]) -> Rows:
    table = datasets.Dataset.from_list([{"messages": chat} for chat in chats])
    return Rows("train", "chats.jsonl", table, np.arange(len(chats)) + 1, {})


def test_chats_that_the_template_does_not_take_are_counted(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer = sentencepiece_tokenizer(tokenizer_folder, LLAMA_2)
    examples = encode(rows_of([BACKWARDS, HELLO, BACKWARDS]), CHAT, tokenizer, tmp_path)
    assert examples.fixed["row"].tolist() == [1]
    assert CHAT.length_findings(examples)["that the chat template does not take"].tolist() == [True, False, True]
    plain = TextGeneration(format="messages", chat_template="plain")
    assert encode(rows_of([BACKWARDS, HELLO]), plain, tokenizer, tmp_path).fixed["row"].tolist() == [0, 1]


def test_a_template_that_takes_none_is_told_with_its_words(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer = sentencepiece_tokenizer(tokenizer_folder, LLAMA_2)
    with pytest.raises(
        UserError, match=r"takes none of the messages \(Conversation roles must alternate.*plain takes"
    ):
        encode(rows_of([BACKWARDS, BACKWARDS]), CHAT, tokenizer, tmp_path)
    assert not list(tmp_path.glob("*.arrow"))


def test_another_chat_template_is_another_encoding(tokenizer_folder: Path, tmp_path: Path) -> None:
    """Tokens are kept by content, and the backend does not know the template."""
    rows = rows_of([HELLO])
    found = [
        encode(rows, CHAT, sentencepiece_tokenizer(tokenizer_folder, template), tmp_path).lengths.tolist()
        for template in (None, LLAMA_2, None)
    ]
    assert found[0] == found[2] != found[1]
    assert len(list(tmp_path.glob("*.arrow"))) == 2


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("text_generation", "reads text"),
        ("text_completion", "reads prompt and completion"),
        ("chat", "reads messages"),
    ],
)
def test_a_column_that_the_format_does_not_read_is_told(task: str, words: str) -> None:
    experiment = build(compose_command([f"task={task}", "+dataset.columns.label=stars"]).tree, Experiment)
    (mistake,) = [mistake for mistake in problems(experiment) if mistake.path == "dataset.columns.label"]
    assert words in mistake.sentence


@pytest.mark.parametrize("task", ["text_completion", "chat"])
def test_the_embedded_rows_are_all_usable(task: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    experiment = build(compose_command([f"task={task}"]).tree, Experiment)
    rows = load_rows(experiment.dataset, experiment.task)
    assert all(not part.left_out for part in rows.values())
    assert min(len(part) for part in rows.values()) >= 40


@pytest.mark.parametrize(("setting", "value"), [("sample_tokens", -1), ("sample_temperature", -0.1)])
def test_settings_that_mean_nothing_are_refused(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=setting):
        TextGeneration(**{setting: value})  # type: ignore[arg-type]
