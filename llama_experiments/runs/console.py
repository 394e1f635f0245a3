"""What a person sees of a run: a header, a bar that moves on a terminal, a line an epoch."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from tqdm import tqdm

from llama_experiments.tasks.base import Sample
from llama_experiments.training.step import Step
from llama_experiments.training.tuning import Attempt

BAR = "{desc} {bar} {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
LONGEST_PROMPT = 200  # characters shown of it
WIDTH = 90  # characters of a line of samples
SMOOTHING = 0.05  # of the bar's loss: the weight of the newest step


class Console:
    """Writes to stdout; silent on all processes but the first. Warnings go to stderr."""

    def __init__(self, epochs: int, speaks: bool = True, headline: Collection[str] | None = None) -> None:
        """`epochs` are those of training; `headline` the metrics that are told, where that is not all."""
        self._epochs, self._speaks, self._headline = epochs, speaks, headline
        self._bar: tqdm[Any] | None = None
        self._bar_epoch = 0
        self._loss = 0.0
        self._seconds = self._tokens = 0.0

    def line(self, text: str = "") -> None:
        """A line of its own."""
        if self._speaks:
            print(text, flush=True)

    def facts(self, facts: dict[str, str]) -> None:
        """The header: one aligned line a fact."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self.line(f"{name:<{width}}  {value}")
        self.line()

    def warn(self, text: str) -> None:
        """A line on stderr."""
        if self._speaks:
            self.close()
            print(f"warning: {text}", file=sys.stderr, flush=True)

    def attempt(self, attempt: Attempt) -> None:
        """`learning rate 0.001 tried: lowest loss 0.4321 on the training rows held out for it`."""
        loss = f"lowest loss {attempt.loss:.4f} on the training rows held out for it"
        told = loss if math.isfinite(attempt.loss) else "training diverged"
        self.line(f"learning rate {attempt.learning_rate:g} tried: {told}")

    def step(self, step: Step) -> None:
        """Move the bar; off a terminal nothing is written, the epoch's line is enough."""
        if not self._speaks or not sys.stdout.isatty():
            return
        loss = step.loss / step.count
        if self._bar is None or self._bar_epoch != step.epoch:
            self.close()
            total = step.steps // self._epochs
            self._bar = tqdm(
                total=total,
                desc=self._numbered(step.epoch),
                leave=False,
                file=sys.stdout,
                bar_format=BAR,
                dynamic_ncols=True,
            )
            self._bar_epoch, self._seconds, self._tokens = step.epoch, 0.0, 0.0
            self._loss = loss if step.step == 1 else self._loss
        self._loss += SMOOTHING * (loss - self._loss)
        self._seconds += step.seconds
        self._tokens += step.tokens
        speed = f"{self._tokens / max(self._seconds, 1e-9):,.0f} tokens/s"
        self._bar.set_postfix_str(f"loss {self._loss:.4f}, {speed}", refresh=False)
        self._bar.update()
        if self._bar.n == self._bar.total:
            self._bar.set_postfix_str(f"loss {self._loss:.4f}, evaluating")

    def epoch(self, record: dict[str, Any]) -> None:
        """`Epoch 1/3  training loss 0.5432  evaluation loss 0.4321  accuracy 0.812`."""
        self.close()
        parts = [self._numbered(record["epoch"])]
        # Epoch 0 trains nothing: its line keeps the column free.
        parts.append(
            "training loss   --  " if record["train_loss"] is None else f"training loss {record['train_loss']:.4f}"
        )
        if record["eval_loss"] is not None:
            parts.append(f"evaluation loss {number(record['eval_loss'])}")
        self.line("  ".join([*parts, *self._metrics(record)]))

    def samples(self, samples: Sequence[Sample]) -> None:
        """What the model wrote, a paragraph each: the prompt in guillemets, then its continuation."""
        for sample in samples:
            self.line(textwrap.fill(told(sample), WIDTH, initial_indent="    ", subsequent_indent="    "))

    def test(self, record: dict[str, Any]) -> None:
        """`Test, by epoch 2's weights  test loss 0.4321  accuracy 0.812`."""
        self.close()
        parts = [f"Test, by epoch {record['epoch']}'s weights", f"test loss {number(record['test_loss'])}"]
        self.line("  ".join([*parts, *self._metrics(record)]))

    def close(self) -> None:
        """Take the bar away, so that what is said next has a line of its own."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _metrics(self, record: dict[str, Any]) -> list[str]:
        told = chosen(record["metrics"], self._headline)
        return [f"{words(name)} {number(value, 3)}" for name, value in told.items()]

    def _numbered(self, epoch: int) -> str:
        if not self._epochs:
            return f"Epoch {epoch}"
        return f"Epoch {epoch:>{len(str(self._epochs))}}/{self._epochs}"


def told(sample: Sample) -> str:
    """A sample in one line: «the prompt» and how it went on."""
    prompt, continuation = (" ".join(text.split()) for text in (sample.prompt, sample.continuation))
    if len(prompt) > LONGEST_PROMPT:  # its end is what is gone on from
        prompt = f"…{prompt[-LONGEST_PROMPT:]}"
    return f"«{prompt}» {continuation or '(nothing)'}"


def words(name: str) -> str:
    """A metric's name for people."""
    return " ".join({"f1": "F1", "auc": "AUC"}.get(word, word) for word in name.split("_"))


def chosen(metrics: dict[str, Any], headline: Collection[str] | None) -> dict[str, Any]:
    """The metrics that are told first: those of the headline, or all."""
    return {name: value for name, value in metrics.items() if headline is None or name in headline}


def number(value: Any, digits: int = 4) -> str:
    """A number for people; a journal's 'inf' stays a word."""
    return f"{value:.{digits}f}" if isinstance(value, int | float) else str(value)


def as_text(samples: Sequence[Sample]) -> str:
    """Samples as a text file, in lines that a page shows whole."""
    lines = [line for sample in samples for line in (*f"{sample.prompt}{sample.continuation}".split("\n"), "")]
    return "\n".join(textwrap.fill(line, WIDTH, replace_whitespace=False) for line in lines)
