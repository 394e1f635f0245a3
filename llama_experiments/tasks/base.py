"""What a task is: its columns, its head, rows as tokens, logits and labels as a loss, predictions as a score.

Nothing here imports torch before it computes: a config is checked against these classes in a blink.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from llama_experiments.errors import UserError, check_settings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples
    from llama_experiments.data.rows import Rows
    from llama_experiments.tasks.asking import Asked

T = TypeVar("T", bound="Task")


@dataclasses.dataclass
class Output:
    """What one pass gives: a loss that is a *sum*, what it is a sum over, and a prediction for each example."""

    loss: torch.Tensor  # [] in nats, a sum over `count` items
    count: int  # examples, spans or tokens
    predictions: dict[str, torch.Tensor]  # each [batch, ...]; `loss` [batch] is always there
    # [] what is minimised, where that is not the loss: a sum, too, of which a step takes the mean over the examples'
    # weights. The loss stays as it is, so that reported losses can be compared.
    objective: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """A continuation that the model wrote, for people."""

    prompt: str
    continuation: str


@dataclasses.dataclass(frozen=True)
class Written:
    """What a model wrote after an evaluation."""

    predictions: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # each [examples], for the score
    samples: list[Sample] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Prompting:
    """How a task is put to a model that is only asked."""

    demonstrations: Sequence[
        Mapping[str, Any]
    ] = ()  # rows of the task, prepared, that are shown solved; oldest first
    separator: str = "\n\n"  # after each of them
    calibrate: bool = False  # classes: what the model says of no text at all is taken off
    context: int | None = None  # tokens of a whole prompt at most; None: as many as the model can read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The base of all tasks. A subclass is one module and its YAML file."""

    name: ClassVar[str]
    item: ClassVar[str]  # what its loss is a mean over, in words
    head: ClassVar[tuple[str, ...]]  # prefixes of the parameters above the trunk
    head_may_be_fresh: ClassVar[bool] = True  # whether a checkpoint need not have the head
    pools: ClassVar[bool] = False  # whether it reads no more of the trunk than each example's last state
    beside: ClassVar[tuple[str, ...]] = ()  # columns of the examples that only scoring needs
    headline: ClassVar[tuple[str, ...] | None] = None  # the metrics told after an epoch, where not all are
    metric: ClassVar[str] = "loss"  # the one by which runs are compared: of `row_metric`
    higher_is_better: ClassVar[bool] = False  # of that metric
    shared_column: ClassVar[str | None] = None  # rows with the same value in it depend on each other
    writes_on: ClassVar[bool] = False  # whether what is predicted is a text that the model writes

    max_length: int = 256  # tokens; longer rows are cut or windowed

    def __post_init__(self) -> None:
        check_settings(("max_length", self.max_length >= 2, f"must be at least 2 tokens, not {self.max_length}"))

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads of a row."""
        raise NotImplementedError

    @property
    def content(self) -> tuple[str, ...]:
        """The columns by which two rows are the same."""
        return self.columns

    @property
    def passages(self) -> tuple[str, ...]:
        """The columns whose texts should not be, nor nearly be, on both sides of training and evaluation."""
        return self.content

    def bind(self, rows: dict[str, Rows], labels: list[str] | None) -> Task:
        """This task, knowing what only the rows can tell, such as the names of the classes."""
        return self

    def prompted(self, prompting: Prompting) -> Task:
        """This task for a causal language model that is only asked.

        Raises:
            UserError: it cannot be asked.
        """
        raise UserError(f"technique: {self.name} cannot be put as a prompt")

    def guessed(self) -> Task:
        """This task answered without a look at the text: from how often things occur in training.

        Raises:
            UserError: there is nothing to guess by.
        """
        raise UserError(f"technique: there is no baseline for {self.name}")

    def prepared(self, rows: Rows) -> Rows:
        """The rows as `encode` takes them; raises UserError for values that the task cannot read."""
        return rows

    def reasons_to_leave_out(self, columns: dict[str, list[Any]]) -> list[str | None]:
        """For each row why it cannot be used, or None."""
        return [why_no_text(text) for text in columns["text"]]

    def model_class(self) -> type[PreTrainedModel]:
        """transformers' class with this task's head."""
        raise NotImplementedError

    def key_mapping(self) -> dict[str, str]:
        """Patterns of a causal checkpoint's keys and what this task's model calls them."""
        return {}

    def model_settings(self) -> dict[str, Any]:
        """What the model's config must know of this task."""
        return {}

    def meet(self, tokenizer: PreTrainedTokenizerFast, positions: int) -> Task:
        """This task, knowing the model's tokenizer and how many tokens the model can read.

        The tokenizer, in turn, learns what whoever loads the saved model has to know.
        """
        return self

    def encoding_settings(self) -> dict[str, Any]:
        """All that `encode` depends on beside rows and tokenizer: the key under which its result is kept."""
        return {"task": type(self).__name__, "max_length": self.max_length}

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        """Rows as columns of examples: `input_ids`, `row`, `count` and the task's own."""
        raise NotImplementedError

    def seen(self, train: Examples) -> Task:
        """This task, knowing the training examples."""
        return self

    def weighted(self, train: Examples) -> Examples:
        """The training examples, with their weights in the objective where these are not their counts."""
        return train

    def class_sizes(self, rows: Rows) -> dict[str, int]:
        """How many rows each class has, by its name; empty where there are no classes."""
        return {}

    def row_tokens(self, examples: Examples) -> np.ndarray:
        """[rows] tokens of each row before it is cut; 0 for a row that gives no example."""
        import numpy as np

        row = examples.fixed["row"]
        # Windows share one token.
        shared = np.bincount(row, weights=examples.lengths - 1, minlength=len(examples.rows)).astype(np.int64)
        return shared + (np.bincount(row, minlength=len(examples.rows)) > 0)

    def length_findings(self, examples: Examples) -> dict[str, np.ndarray]:
        """What `max_length` does to rows, in words, and to which of them: [rows] of bool."""
        import numpy as np

        windows = np.bincount(examples.fixed["row"], minlength=len(examples.rows))
        return {"cut into windows": windows > 1, "too short to learn from": windows == 0}

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        """Loss and predictions of a right-padded batch; no number may depend on the padding."""
        raise NotImplementedError

    def write(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: Examples) -> Written:
        """What the model writes after an evaluation: to be scored, or to be looked at. A function of its weights."""
        return Written()

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        """Metrics over all predictions of an evaluation, each [examples, ...]."""
        raise NotImplementedError

    def as_read(self, examples: Examples, index: int, tokenizer: PreTrainedTokenizerFast) -> str:
        """An example in full, as the model reads it."""
        ids, offsets = examples.ragged["input_ids"]
        return str(tokenizer.decode(ids[offsets[index] : offsets[index + 1]].tolist()))

    def row_metric(self, table: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """`metric` as a sum and a count for each row of `prediction_table`: any choice of rows has its mean."""
        import numpy as np

        return np.asarray(table["loss"], dtype=float), np.asarray(table["count"], dtype=float)

    def prediction_table(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, Any]:
        """The columns of `predictions.parquet`, where people read them; here what every task has."""
        return {
            "row": examples.rows.numbers[predictions["row"]],
            "loss": predictions["loss"].astype("float64"),
            "count": predictions["count"],
        }

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns of a row of which something is to be predicted; the first is read from plain text.

        Raises:
            UserError: there is nothing that could be.
        """
        raise UserError(f"predict: {self.name} has nothing to predict")

    @property
    def predicts(self) -> tuple[str, ...]:
        """The columns of what is predicted, what matters most first."""
        return ("prediction",)

    def why_not_asked(self, value: Any, column: str) -> str | None:
        """Why a value of a column of `asked` cannot be, or None."""
        if (reason := why_no_text(value)) is not None:
            return reason.replace("text", column) if reason == "an empty text" else reason
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half a character"  # which JSON can spell
        return None

    def predicted(self, columns: dict[str, list[Any]], asked: Asked, first_row: int) -> dict[str, list[Any]]:
        """`predicts` of rows with the columns `asked`; None in the place of what could not be said of a row."""
        raise NotImplementedError


def recast(task: Task, kind: type[T], **known: Any) -> T:
    """A task as one of a subclass of its own, with the same settings and what is `known` beside them."""
    settings = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    return kind(**{**settings, **known})


def why_no_text(value: Any) -> str | None:
    """Why a value cannot be used as a text, or None."""
    if isinstance(value, str) and value.strip():
        return None
    return "an empty text" if value is None or value != value or isinstance(value, str) else "a value that is no text"


def tokenize(texts: list[str], tokenizer: PreTrainedTokenizerFast, max_length: int | None) -> list[list[int]]:
    """Texts as token ids, with the tokenizer's own special tokens, cut to `max_length` when given."""
    whole = [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts)]
    return whole if max_length is None else cut(whole, tokenizer, max_length)


def cut(rows: list[list[int]], tokenizer: PreTrainedTokenizerFast, max_length: int) -> list[list[int]]:
    """Rows of tokens cut to `max_length`, with the special tokens at their ends, as the tokenizer itself would.

    It would cut in half the speed, since it keeps what is cut off.
    """
    mask = tokenizer.backend_tokenizer.encode("a").special_tokens_mask
    tail = mask[::-1].index(0) if 0 in mask else 0  # special tokens after a text
    return [ids if len(ids) <= max_length else ids[: max_length - tail] + ids[len(ids) - tail :] for ids in rows]
