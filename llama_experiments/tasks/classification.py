"""Sequence classification: a class for a text, read off the last token's hidden state."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, cast

from llama_experiments.data.rows import Rows, class_indices, class_names
from llama_experiments.errors import check_settings
from llama_experiments.tasks.base import Output, Task, tokenize

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.data.examples import Batch, Examples


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceClassification(Task):
    """`LlamaForSequenceClassification` on the columns `text` and `label`."""

    name: ClassVar[str] = "sequence classification"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    item: ClassVar[str] = "example"
    head: ClassVar[tuple[str, ...]] = ("score.",)

    labels: list[str] | None = None  # names of the classes; null takes the data set's

    def __post_init__(self) -> None:
        super().__post_init__()
        several = self.labels is None or len(set(self.labels)) == len(self.labels) >= 2
        check_settings(("labels", several, "must be null or two or more different names"))

    @property
    def names(self) -> list[str]:
        """The names of the classes, known once the task is bound."""
        assert self.labels is not None, "bind() comes first"
        return self.labels

    def bind(self, rows: dict[str, Rows], labels: list[str] | None) -> SequenceClassification:
        return dataclasses.replace(self, labels=class_names(rows["train"], self.labels or labels))

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
        return {
            "input_ids": tokenize(columns["text"], tokenizer, self.max_length),
            "label": columns["label"],
            "row": list(range(first_row, first_row + rows)),
            "count": [1] * rows,
        }

    def output(self, model: PreTrainedModel, batch: Batch) -> Output:
        import torch
        from torch.nn.functional import cross_entropy

        # No attention mask: attention is causal and the padding comes after, so no real position sees it.
        hidden = model.model(
            input_ids=batch["input_ids"], use_cache=False
        ).last_hidden_state  # [batch, length, hidden]
        last = batch["lengths"] - 1
        pooled = hidden[torch.arange(len(last), device=hidden.device), last]  # [batch, hidden]
        logits = model.score(pooled).float()  # [batch, classes]
        losses = cross_entropy(logits, batch["label"], reduction="none")
        predictions = {"logits": logits.detach(), "label": batch["label"], "loss": losses.detach()}
        return Output(losses.sum(), len(losses), predictions)

    def score(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, float]:
        predicted = predictions["logits"].argmax(axis=-1)
        return {"accuracy": float((predicted == predictions["label"]).mean())}

    def prediction_table(self, predictions: dict[str, np.ndarray], examples: Examples) -> dict[str, Any]:
        import numpy as np

        logits = predictions["logits"].astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)  # [examples, classes]
        predicted = probabilities.argmax(axis=-1)
        names = np.asarray(self.names)
        return super().prediction_table(predictions, examples) | {
            "label": names[predictions["label"]],
            "prediction": names[predicted],
            "probability": probabilities[np.arange(len(predicted)), predicted],
            **{f"probability_{name}": probabilities[:, index] for index, name in enumerate(self.names)},
        }
