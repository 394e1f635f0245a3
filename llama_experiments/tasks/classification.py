"""Sequence classification: a class for a text, read off the last token's hidden state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from llama_experiments.data.rows import Rows, class_indices, class_names
from llama_experiments.errors import UserError, check_settings, offer
from llama_experiments.tasks.base import Output, Prompting, Task, cut, recast, tokenize
from llama_experiments.tasks.class_metrics import (
    auc,
    balanced_weights,
    calibration_error,
    confusion,
    macro_f1,
    precision_and_recall,
)
from llama_experiments.tasks.prompts import places
from llama_experiments.tasks.trunk import last_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples
    from llama_experiments.tasks.asking import Asked
    from llama_experiments.tasks.guesses import MajorityClass
    from llama_experiments.tasks.prompted_classification import PromptedClassification


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceClassification(Task):
    """`LlamaForSequenceClassification` on the columns `text` and `label`.

    Class weights are for skewed data. A step then minimises the weighted mean of its examples' losses, the sum of
    weight x loss over the sum of the weights of all its examples, whatever its passes and devices are. They enter
    nothing else: the losses reported for training and evaluation stay plain means over the examples, so that runs
    with and without weights can be compared.
    """

    name: ClassVar[str] = "sequence classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    item: ClassVar[str] = "example"
    headline: ClassVar[tuple[str, ...] | None] = ("accuracy", "macro_f1")
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    head: ClassVar[tuple[str, ...]] = ("score.",)
    pools: ClassVar[bool] = True

    labels: list[str] | None = None  # names of the classes; null takes the data set's
    # name of a class -> its weight in what is minimised, 1 where none is given; balanced: each class the same in all
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    # Where the model is only asked (technique=prompt):
    template: str = "{text}\nLabel:"  # what the label's word follows, after a space
    label_words: dict[str, str] | None = None  # name of a class -> its word; null: the names themselves

    def __post_init__(self) -> None:
        super().__post_init__()
        several = self.labels is None or len(set(self.labels)) == len(self.labels) >= 2
        given = self.class_weights.values() if isinstance(self.class_weights, dict) else []
        positive = all(0 < weight < math.inf for weight in given)
        check_settings(
            ("labels", several, "must be null or two or more different names"),
            ("class_weights", positive, "must be positive numbers"),
            ("template", places(self.template) == {"text"}, "must have the place {text}, no others"),
            ("label_words", all(word.strip() for word in (self.label_words or {}).values()), "must not be empty"),
        )

    @property
    def content(self) -> tuple[str, ...]:
        return ("text",)

    @property
    def names(self) -> list[str]:
        """The names of the classes, known once the task is bound."""
        assert self.labels is not None, "bind() comes first"
        return self.labels

    def bind(self, rows: dict[str, Rows], labels: list[str] | None) -> SequenceClassification:
        names = class_names(rows["train"], self.labels or labels)
        for name in self.class_weights if isinstance(self.class_weights, dict) else ():
            if name not in names:
                raise UserError(f"task.class_weights.{name}: there is no such class; {offer(name, names, 'classes')}")
        if self.label_words is not None:
            _check_words(self.label_words, names)
        return dataclasses.replace(self, labels=names)

    def prompted(self, prompting: Prompting) -> PromptedClassification:
        from llama_experiments.tasks.prompted_classification import PromptedClassification

        return recast(self, PromptedClassification, prompting=prompting)

    def guessed(self) -> MajorityClass:
        from llama_experiments.tasks.guesses import MajorityClass

        return recast(self, MajorityClass)

    def prepared(self, rows: Rows) -> Rows:
        import datasets

        indices = class_indices(rows, self.names)
        table = rows.table.remove_columns("label").add_column("label", indices, feature=datasets.Value("int64"))
        return dataclasses.replace(rows, table=table)

    def model_class(self) -> type[PreTrainedModel]:
        from transformers import LlamaForSequenceClassification

        return cast("type[PreTrainedModel]", LlamaForSequenceClassification)

    def model_settings(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": "single_label_classification",
        }

    def encode(
        self, columns: dict[str, list[Any]], first_row: int, tokenizer: PreTrainedTokenizerFast
    ) -> dict[str, Any]:
        rows = len(columns["text"])
        whole = tokenize(columns["text"], tokenizer, None)
        return {
            "input_ids": cut(whole, tokenizer, self.max_length),
            "tokens": [len(ids) for ids in whole],
            "label": columns["label"],
            "row": list(range(first_row, first_row + rows)),
            "count": [1] * rows,
        }

    def weighted(self, train: Examples) -> Examples:
        labels = train.fixed["label"]
        if self.class_weights is None:
            return train
        if self.class_weights == "balanced":
            return train.with_weights(balanced_weights(labels, len(self.names))[labels])
        return train.with_weights(np.array([self.class_weights.get(name, 1.0) for name in self.names])[labels])

    def class_sizes(self, rows: Rows) -> dict[str, int]:
        sizes = np.bincount(np.asarray(rows.table["label"][:]), minlength=len(self.names))
        return dict(zip(self.names, sizes.tolist(), strict=True))

    def row_tokens(self, examples: Examples) -> np.ndarray:
        return examples.fixed["tokens"]

    def length_findings(self, examples: Examples) -> dict[str, np.ndarray]:
        return {"cut off": examples.fixed["tokens"] > examples.lengths}

    def logits(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """What speaks for each class, [batch, classes] in fp32."""
        return cast("torch.Tensor", model.score(last_states(model.model, batch)).float())

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        from torch.nn.functional import cross_entropy

        logits = self.logits(model, batch)
        losses = cross_entropy(logits, batch["label"], reduction="none")
        predictions = {"logits": logits.detach(), "label": batch["label"], "loss": losses.detach()}
        objective = (losses * batch["weight"].to(losses.dtype)).sum() if "weight" in batch else None
        return Output(losses.sum(), len(losses), predictions, objective)

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        """Accuracy, macro F1, calibration error, AUC of two classes; precision and recall of each, by its name."""
        labels, probabilities = predictions["label"], _probabilities(predictions["logits"])
        predicted = probabilities.argmax(axis=-1)
        right = predicted == labels
        counts = confusion(labels, predicted, len(self.names))
        metrics = {"accuracy": float(right.mean()), "macro_f1": macro_f1(counts)}
        area = auc(labels, probabilities[:, 1]) if len(self.names) == 2 else None
        metrics |= {"auc": area} if area is not None else {}
        metrics["calibration_error"] = calibration_error(probabilities.max(axis=-1), right)
        for name, precision, recall in zip(self.names, *precision_and_recall(counts), strict=True):
            metrics |= {f"precision_{name}": float(precision), f"recall_{name}": float(recall)}
        return metrics

    def prediction_table(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, Any]:
        probabilities = _probabilities(predictions["logits"])
        predicted = probabilities.argmax(axis=-1)
        names = np.asarray(self.names)
        return super().prediction_table(predictions, examples) | {
            "label": names[predictions["label"]],
            "prediction": names[predicted],
            "probability": probabilities[np.arange(len(predicted)), predicted],
            **{f"probability_{name}": probabilities[:, index] for index, name in enumerate(self.names)},
        }

    def row_metric(self, table: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        right = np.asarray(table["label"]) == np.asarray(table["prediction"])
        return right.astype(float), np.ones(len(right))

    @property
    def asked(self) -> tuple[str, ...]:
        return ("text",)

    @property
    def predicts(self) -> tuple[str, ...]:
        return ("prediction", "probability", *(f"probability_{name}" for name in self.names))

    def predicted(self, columns: dict[str, list[Any]], asked: Asked, first_row: int) -> dict[str, list[Any]]:
        from llama_experiments.tasks.asking import by_passes

        return by_passes(self, columns | {"label": [0] * len(columns["text"])}, asked, self.predicts)


def _check_words(words: Mapping[str, str], names: Sequence[str]) -> None:
    """Raises UserError where a class has no word, or a word no class."""
    for name in words:
        if name not in names:
            raise UserError(f"task.label_words.{name}: there is no such class; {offer(name, names, 'classes')}")
    for name in names:
        if name not in words:
            raise UserError(f"task.label_words: there is no word for the class '{name}'; each class needs one")


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax in fp64, [examples, classes]."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
