"""Windows of a question and its context: where they begin and end, and where the answer stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from llama_experiments.data.answers import NOWHERE, Answers
from llama_experiments.models.tokenizer import load_tokenizer
from llama_experiments.tasks.spans import Window, edges, token_span, windows
from tests.conftest import SHARED, sentences

TEN = "t0 t1 t2 t3 t4 t5 t6 t7 t8 t9"
STRIDE = 2


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    """A tokenizer to count on: every word is a token."""
    return word_tokenizer(eos_token="</s>")


def word_tokenizer(ends_texts: bool = False, **names: str) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", "who", "\n", *TEN.split()])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    if ends_texts:
        backend.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **names)


def made(
    tokenizer: PreTrainedTokenizerFast,
    context: str,
    answer: str | None,
    *,
    room: int,
    stride: int,
    at: int | None = None,
    question: str = "who ",
) -> list[Window]:
    """The windows of one row with room for so many tokens of the context; `at` is the answer's offset."""
    start = context.index(answer) if answer is not None and at is None else at
    answers = Answers([], []) if answer is None or start is None else Answers([answer], [start])
    length = len(tokenizer.backend_tokenizer.encode(f"{question}\n").ids)
    length -= tokenizer.backend_tokenizer.num_special_tokens_to_add(False)
    return list(windows(question, context, answers, 5, tokenizer, length + room + 1, stride))


def held(window: Window, context: str) -> str:
    """The part of the context that a window holds."""
    places = range(window.first, len(window.input_ids) - 1)
    return context[window.char_start[places[0]] : window.char_end[places[-1]]] if places else ""


def labelled(window: Window, context: str) -> str | None:
    """The text at a window's labels; None where they say that there is none."""
    last = len(window.input_ids) - 1
    if (window.start, window.end) == (last, last):
        return None
    assert window.first <= window.start <= window.end < last
    assert window.may_start[window.start] == window.may_end[window.end] == 1
    return context[window.char_start[window.start] : window.char_end[window.end]]


def test_a_window_is_question_context_end(words: PreTrainedTokenizerFast) -> None:
    (window,) = made(words, "t3 t4", "t4", room=9, stride=0)
    ids = words.convert_tokens_to_ids(["who", "\n", "t3", "t4", "</s>"])
    assert window == Window(
        input_ids=ids,
        char_start=[0, 0, 0, 3, 0],
        char_end=[0, 0, 2, 5, 0],
        may_start=[0, 0, 1, 1, 0],
        may_end=[0, 0, 1, 1, 0],
        first=2,
        start=3,
        end=3,
        row=5,
        count=1,
    )


@pytest.mark.parametrize(
    ("room", "stride", "parts"),
    [
        (4, 2, ["t0 t1 t2 t3", "t2 t3 t4 t5", "t4 t5 t6 t7", "t6 t7 t8 t9"]),
        (4, 0, ["t0 t1 t2 t3", "t4 t5 t6 t7", "t8 t9"]),  # nothing shared
        (4, 3, [f"t{at} t{at + 1} t{at + 2} t{at + 3}" for at in range(7)]),
        (3, 2, [f"t{at} t{at + 1} t{at + 2}" for at in range(8)]),
        (3, 9, [f"t{at} t{at + 1} t{at + 2}" for at in range(8)]),  # more shared than there is room: all but one
        (1, 9, TEN.split()),
        (10, 3, [TEN]),  # it just fits
        (9, 3, [TEN[:-3], "t6 t7 t8 t9"]),  # one more, and it does not
        (11, 3, [TEN]),
        (500, 128, [TEN]),
    ],
)
def test_where_windows_begin_and_end(
    room: int, stride: int, parts: list[str], words: PreTrainedTokenizerFast
) -> None:
    cut = made(words, TEN, "t0", room=room, stride=stride)
    assert [held(window, TEN) for window in cut] == parts
    for window in cut:
        assert len(window.input_ids) <= 2 + room + 1  # max_length
        assert window.input_ids[: window.first] == words.convert_tokens_to_ids(["who", "\n"])
        assert window.input_ids[-1] == words.eos_token_id
        beside = (window.char_start, window.char_end, window.may_start, window.may_end)
        assert {len(column) for column in beside} == {len(window.input_ids)}
        assert (window.row, window.count) == (5, 1)


ROOM_4 = ["t0 t1 t2 t3", "t2 t3 t4 t5", "t4 t5 t6 t7", "t6 t7 t8 t9"]


@pytest.mark.parametrize(
    ("answer", "stride", "found"),
    [
        ("t4", 2, [None, "t4", "t4", None]),  # the first token of the third window
        ("t3", 2, ["t3", "t3", None, None]),  # the last token of the first
        ("t0", 2, ["t0", None, None, None]),
        ("t9", 2, [None, None, None, "t9"]),
        ("t0 t1 t2 t3", 2, ["t0 t1 t2 t3", None, None, None]),  # a whole window
        ("t3 t4", 2, [None, "t3 t4", None, None]),  # across the first and the third, whole in the second
        ("t1 t2 t3 t4", 2, [None, None, None, None]),  # cut by each
        ("t2 t3 t4 t5 t6", 2, [None, None, None, None]),  # longer than any window
        ("t3 t4", 0, [None, None, None]),  # cut by both where nothing is shared
        ("t3", 0, ["t3", None, None]),
        ("t4", 0, [None, "t4", None]),
        ("t8 t9", 0, [None, None, "t8 t9"]),  # all of a short last window
        (None, 2, [None, None, None, None]),
    ],
)
def test_where_the_answer_stands(
    answer: str | None, stride: int, found: list[str | None], words: PreTrainedTokenizerFast
) -> None:
    cut = made(words, TEN, answer, room=4, stride=stride)
    assert [labelled(window, TEN) for window in cut] == found


def test_the_first_and_the_last_position(words: PreTrainedTokenizerFast) -> None:
    _, second, third, _ = made(words, TEN, "t4", room=4, stride=2)
    assert (second.start, second.end) == (second.first + 2, second.first + 2)
    assert (third.start, third.end) == (third.first, third.first)
    first, *_ = made(words, TEN, "t3", room=4, stride=2)
    assert (first.start, first.end) == (len(first.input_ids) - 2,) * 2


def test_an_answer_that_the_context_repeats_is_the_one_at_its_offset(words: PreTrainedTokenizerFast) -> None:
    context = "t1 t2 t1 t2 t1"
    cut = [made(words, context, "t1", room=9, stride=0, at=at)[0] for at in (0, 6, 12)]
    assert [(window.start, window.end) for window in cut] == [(2, 2), (4, 4), (6, 6)]
    first, second = made(words, context, "t1 t2", room=3, stride=1, at=6)
    assert (labelled(first, context), labelled(second, context)) == (None, "t1 t2")


def test_of_several_references_the_first_that_stands_there_is_learned(words: PreTrainedTokenizerFast) -> None:
    answers = Answers(["nowhere", "t2", "t3"], [NOWHERE, 6, 9])
    (window,) = windows("who ", TEN, answers, 0, words, 20, 0)
    assert labelled(window, TEN) == "t2"


@pytest.mark.parametrize("answer", [" t4 t5", "t4 t5 ", " t4 t5 ", "4 t", "t4 t5"])
def test_tokens_that_an_answer_touches(answer: str, words: PreTrainedTokenizerFast) -> None:
    """Spaces around it are no part of it; a token of which it is a part is."""
    (window,) = made(words, TEN, answer, room=20, stride=0)
    assert labelled(window, TEN) == "t4 t5"


def test_a_context_of_one_token(words: PreTrainedTokenizerFast) -> None:
    for room in (1, 2, 9):
        (window,) = made(words, "t7", "t7", room=room, stride=STRIDE)
        assert (window.first, window.start, window.end, len(window.input_ids)) == (2, 2, 2, 4)
        (window,) = made(words, "t7", None, room=room, stride=STRIDE)
        assert (window.start, window.end) == (3, 3)


@pytest.mark.parametrize(("max_length", "count"), [(1, 0), (4, 0), (5, 0), (6, 10), (7, 9)])
def test_a_question_that_leaves_no_room_gives_no_window(
    max_length: int, count: int, words: PreTrainedTokenizerFast
) -> None:
    cut = list(windows("who who who ", TEN, Answers(["t0"], [0]), 0, words, max_length, 1))  # 4 tokens and the end
    assert len(cut) == count
    assert all(len(window.input_ids) == max_length for window in cut)


def test_a_tokenizer_that_ends_every_text_does_not_end_the_question() -> None:
    tokenizer = word_tokenizer(ends_texts=True, eos_token="</s>")
    (window,) = made(tokenizer, "t3 t4", "t4", room=9, stride=0)
    assert window.input_ids == tokenizer.convert_tokens_to_ids(["who", "\n", "t3", "t4", "</s>"])


def test_without_an_end_of_text_a_line_break_ends_a_window() -> None:
    tokenizer = word_tokenizer()
    (window,) = made(tokenizer, "t3 t4", None, room=9, stride=0)
    assert window.input_ids == tokenizer.convert_tokens_to_ids(["who", "\n", "t3", "t4", "\n"])
    assert window.start == window.end == 4


def test_token_span_is_the_tokens_that_share_a_character() -> None:
    places = [(0, 1), (0, 1), (1, 3), (3, 3), (4, 6), (4, 6), (6, 7)]
    assert token_span(places, (0, 1)) == (0, 1)
    assert token_span(places, (1, 3)) == (2, 2)
    assert token_span(places, (2, 5)) == (2, 5)
    assert token_span(places, (6, 7)) == (6, 6)
    assert token_span(places, (3, 4)) is None


def test_answers_start_and_end_at_whole_words_and_characters() -> None:
    """Not at a space, nor within a character that is several tokens: the same text would have several spans."""
    context = "é  x y"
    places = [(0, 1), (0, 1), (0, 1), (1, 2), (2, 4), (4, 5), (5, 6), (5, 6)]
    assert [context[start:end] for start, end in places] == ["é", "é", "é", " ", " x", " ", "y", "y"]
    assert edges(context, places) == ([1, 0, 0, 0, 1, 0, 1, 0], [0, 0, 1, 0, 1, 0, 0, 1])
    assert edges("", []) == ([], [])


# Letters with marks of their own and with combining ones, of two, three and four bytes, joined, and in no vocabulary.
AWKWARD = [
    "Zoë saw e\u0301cole, naïve São\u0303 \u00a0Paulo: 5½ £",
    "日本 の 🦙 👩‍👩‍👧 and 🏴󠁧󠁢󠁳󠁣󠁴󠁿 (flag) x",
    " leading and  two spaces\tor a\nline break ",
    "ﷺ ｆｕｌｌ ﬁne \u200bzero \u0301alone <s> </s> end",
]


def byte_level() -> PreTrainedTokenizerFast:
    """As Llama 3's: pairs of bytes, so that a token may be a part of a character."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator([text for text, _ in sentences(100)] + ["日本 日本 の の 🦙"], trainer)
    backend.encode_special_tokens = True
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module", params=["byte fallback", "byte level", "stories260K", "llama2_tokenizer"])
def real(request: pytest.FixtureRequest, tokenizer_folder: Path) -> PreTrainedTokenizerFast:
    if request.param == "byte level":
        return byte_level()
    folder = tokenizer_folder if request.param == "byte fallback" else SHARED / request.param
    if not folder.is_dir():
        pytest.skip("no real tokenizer here")
    return load_tokenizer(folder)


@pytest.mark.parametrize("context", AWKWARD)
@pytest.mark.parametrize(("room", "stride"), [(500, 0), (24, 8), (7, 3)])
def test_labels_decode_to_the_answer(room: int, stride: int, context: str, real: PreTrainedTokenizerFast) -> None:
    """Every word as the answer, and every two: the places say its text, and so do the tokens."""
    starts, at = [], 0
    for word in context.split():
        starts.append(context.index(word, at))
        at = starts[-1] + len(word)
    ends = [start + len(word) for start, word in zip(starts, context.split(), strict=True)]
    seen = 0
    for first, last in [*zip(starts, ends, strict=True), *zip(starts, ends[1:], strict=False)]:
        answer = context[first:last]
        size = len(real.backend_tokenizer.encode(context, add_special_tokens=False).ids)
        cut = made(real, context, answer, room=room, stride=stride, at=first, question="Which one?")
        for window in cut:
            if (text := labelled(window, context)) is not None:
                assert text.strip(" ") == answer
                assert real.decode(window.input_ids[window.start : window.end + 1]).strip(" ") == answer
                seen += 1
        assert len(cut) == 1 or size > room
    assert seen >= (2 * len(starts) - 1 if room == 500 else 3)


def test_spaces_around_an_answer_are_not_learned(real: PreTrainedTokenizerFast) -> None:
    """Not even where a space is a token of its own."""
    context = "It saw  🦙  there."
    (plain,), *spaced = (
        made(real, context, answer, room=500, stride=0, question="Which one?")
        for answer in ("🦙", " 🦙 ", "  🦙", "🦙  ")
    )
    assert all((window.start, window.end) == (plain.start, plain.end) for (window,) in spaced)


@pytest.mark.parametrize("context", AWKWARD)
def test_every_character_of_a_context_can_be_an_answer(context: str, real: PreTrainedTokenizerFast) -> None:
    """Also one that is several tokens, or a part of one: the labels hold it, and no token more than it touches."""
    for at, character in enumerate(context):
        if not character.strip():
            continue
        (window,) = made(real, context, character, room=500, stride=0, at=at, question="Which one?")
        touching = [
            place
            for place in range(window.first, len(window.input_ids) - 1)
            if window.char_start[place] <= at < window.char_end[place]
        ]
        assert touching == list(range(window.start, window.end + 1))
