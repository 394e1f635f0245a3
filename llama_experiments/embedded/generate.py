"""Write the embedded corpus, data sets and tokenizer anew, byte for byte as they are in the package.

    python -m llama_experiments.embedded.generate [--output FOLDER]

`data/` then holds reviews in two and in three classes (TSV), stories, openings of stories with how they go on, and
dialogues (JSON Lines), passages with questions (JSON as SQuAD 1.1 has it) and the corpus that the embedded model is
pre-trained on, each in a part to train on and a part to validate with; `tokenizer/` holds a small tokenizer trained
on the corpus, made like Llama 2's. Nothing is copied from
anywhere: every sentence comes from the templates and words of this package. No text occurs twice, so the corpus has
nothing that the other files have. All chance comes from the standard library's generator with fixed seeds.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llama_experiments.embedded.dialogues import write_dialogues
from llama_experiments.embedded.passages import Passage, squad, write_passages
from llama_experiments.embedded.reviews import LABELS, LABELS_THREE, Review, write_reviews
from llama_experiments.embedded.stories import write_stories

HERE = Path(__file__).parent
PARTS = ("train", "validation")
REVIEW_ROWS = (2000, 600)
STORY_ROWS = (880, 110)
OPENING_ROWS = (240, 40)
DIALOGUE_ROWS = (300, 50)
QUESTIONS = (1000, 300)

# The corpus: per part, how many of each. Reviews are the most, since their verdicts are the hardest to learn.
CORPUS_REVIEWS = (3900, 150)
CORPUS_REVIEWS_THREE = (1500, 80)
CORPUS_STORIES = (320, 30)
CORPUS_QUESTIONS = (450, 40)
CORPUS_PLAIN = 0.6  # more plain wording than in the tasks: it teaches which words are praise
WITH_VERDICT = 0.85  # share of the corpus's reviews that are followed by their label
ASKED = 0.75  # share of the corpus's passages that are followed by a question and its answer

VOCABULARY = 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the embedded corpus, data sets and tokenizer anew.")
    parser.add_argument("--output", type=Path, default=HERE, metavar="FOLDER", help="by default, in the package")
    output = parser.parse_args(arguments).output
    documents = write_data(output / "data")
    write_tokenizer(output / "tokenizer", documents)


def write_data(folder: Path) -> list[str]:
    """Write all data files; returns the documents of the corpus to train on."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for part, reviews, stories, questions in zip(PARTS, REVIEW_ROWS, STORY_ROWS, QUESTIONS, strict=True):
        write_table(folder / f"reviews.{part}.tsv", write_reviews(chance("reviews", part), reviews, LABELS, seen))
        three = write_reviews(chance("reviews_three", part), reviews, LABELS_THREE, seen)
        write_table(folder / f"reviews_three.{part}.tsv", three)
        write_lines(folder / f"stories.{part}.jsonl", write_stories(chance("stories", part), stories, seen))
        passages = write_passages(chance("passages", part), questions, seen)
        write(folder / f"passages.{part}.json", json.dumps(squad(passages, part[0]), separators=(",", ":")) + "\n")
    corpora = [corpus(part, seen) for part in PARTS]
    for part, documents in zip(PARTS, corpora, strict=True):
        write_lines(folder / f"corpus.{part}.jsonl", documents)
    for part, stories, dialogues in zip(PARTS, OPENING_ROWS, DIALOGUE_ROWS, strict=True):
        told = [opened(story) for story in write_stories(chance("openings", part), stories, seen)]
        write_objects(folder / f"openings.{part}.jsonl", told)
        spoken = write_dialogues(chance("dialogues", part), dialogues, seen)
        write_objects(folder / f"dialogues.{part}.jsonl", [{"messages": messages} for messages in spoken])
    return corpora[0]


def corpus(part: str, seen: set[str]) -> list[str]:
    """The documents of one part of the corpus, shuffled; those of the prompts' wording are among them."""
    rng = chance("corpus", part)
    at = PARTS.index(part)
    documents = write_stories(rng, CORPUS_STORIES[at], seen)
    documents += [asked(rng, passage) for passage in write_passages(rng, CORPUS_QUESTIONS[at], seen)]
    reviews = write_reviews(rng, CORPUS_REVIEWS[at], LABELS, seen, CORPUS_PLAIN)
    reviews += write_reviews(rng, CORPUS_REVIEWS_THREE[at], LABELS_THREE, seen, CORPUS_PLAIN)
    documents += [judged(rng, review) for review in reviews]
    rng.shuffle(documents)
    return documents


def judged(rng: random.Random, review: Review) -> str:
    """The review, often with its verdict; it is the wording in which the model will be asked for one."""
    return f"Review: {review.text}\nSentiment: {review.label}" if rng.random() < WITH_VERDICT else review.text


def asked(rng: random.Random, passage: Passage) -> str:
    """The passage, often with a question and its answer; it is the wording in which the model will be asked one."""
    if rng.random() >= ASKED:
        return passage.context
    question = rng.choice(passage.questions)
    return f"Passage: {passage.context}\nQuestion: {question.question}\nAnswer: {question.answer}"


def opened(story: str) -> dict[str, str]:
    """A story's first sentence as the prompt, and how it goes on."""
    opening, space, rest = story.partition(". ")
    return {"prompt": f"{opening}.", "completion": f"{space[1:]}{rest}"}


def chance(*name: str) -> random.Random:
    """A generator of its own for each file, so that a change to one leaves the others as they were."""
    return random.Random(" ".join(name))


def write_table(path: Path, reviews: Iterable[Review]) -> None:
    """A TSV with a header."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(("sentence", "label"))
    writer.writerows((review.text, review.label) for review in reviews)
    write(path, stream.getvalue())


def write_lines(path: Path, texts: Iterable[str]) -> None:
    """JSON Lines, a text each."""
    write_objects(path, [{"text": text} for text in texts])


def write_objects(path: Path, objects: Iterable[dict[str, Any]]) -> None:
    """JSON Lines."""
    write(path, "".join(json.dumps(one) + "\n" for one in objects))


def write(path: Path, content: str) -> None:
    """The same bytes on every system."""
    path.write_text(content, encoding="utf-8", newline="\n")


def write_tokenizer(folder: Path, documents: Iterable[str]) -> None:
    """Train a tokenizer on the documents: Llama 2's settings, but for the number of pieces."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        # By lines, so that the end of a line is no piece of its own but falls back to its byte, as in Llama's.
        sentence_iterator=iter([line for document in documents for line in document.split("\n")]),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        max_sentence_length=1 << 16,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())


if __name__ == "__main__":
    main()
