"""Hugging Face's Trainer: as the tutorial has it, at its best, and with `peft`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from side_by_side.cases import PEFT, TUTORIAL, Work
from side_by_side.encoding import Collator, encode, load

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

    from side_by_side.measure import Span


def run(work: Work, way: str) -> dict[str, Any]:
    """Train and evaluate each epoch, save, and track in MLflow."""
    import transformers

    model, tokenizer = load(work)
    parts = encode(work, tokenizer)
    lengths = {part: [len(row["input_ids"]) for row in rows] for part, rows in parts.items()}
    if way == PEFT:
        import peft

        settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="SEQ_CLS")
        model = peft.get_peft_model(model, settings)
    fixed = way == TUTORIAL
    data: dict[str, Any] = dict(parts)
    if not fixed:
        data = {
            part: [row | {"length": size} for row, size in zip(rows, lengths[part], strict=True)]
            for part, rows in parts.items()
        }
    pad = Collator(tokenizer.pad_token_id, work.max_length if fixed else None)
    trainer = timed(transformers.Trainer)(
        model=model,
        args=arguments(work, best=not fixed),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        data_collator=(lambda rows: pad([{k: v for k, v in row.items() if k != "length"} for row in rows])),
        processing_class=tokenizer,
    )
    trainer.train()
    return result(trainer) | {"tokens": sum(lengths["train"])}


def arguments(work: Work, best: bool, kind: type | None = None, **further: Any) -> TrainingArguments:
    """The tutorial's: defaults. The best: rows of similar lengths, bf16 where it helps, less saved, less logged."""
    import transformers

    given: dict[str, Any] = {
        "output_dir": work.folder,
        "num_train_epochs": work.epochs,
        "learning_rate": work.learning_rate,
        "weight_decay": work.weight_decay,
        "per_device_train_batch_size": work.batch_size,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "report_to": "mlflow",
        "seed": work.seed,
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    if best:
        given |= {
            "per_device_eval_batch_size": 32,
            "train_sampling_strategy": "group_by_length",
            "bf16": work.bf16,
            "optim": "adamw_torch_fused",
            "save_strategy": "best",
            "metric_for_best_model": "eval_loss",
            "save_only_model": True,
            "logging_strategy": "epoch",
            "remove_unused_columns": False,
        }
    made: TrainingArguments = (kind or transformers.TrainingArguments)(**given | further)
    return made


def timed(trainer: type[Trainer]) -> type[Trainer]:
    """A Trainer that notes when it trains and evaluates, and when it saves."""
    import transformers

    class Timed(trainer):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.spans: list[Span] = []
            spans = self.spans
            begun: list[float] = []

            class Clock(transformers.TrainerCallback):
                """After the tracker's callback: what that one sets up is no training."""

                def on_train_begin(self, *_: Any, **__: Any) -> None:
                    begun.append(time.time())

                def on_train_end(self, *_: Any, **__: Any) -> None:
                    spans.append((begun[-1], time.time(), 1))

            self.add_callback(Clock())

        def _save_checkpoint(self, *given: Any, **named: Any) -> None:
            started = time.time()
            super()._save_checkpoint(*given, **named)
            self.spans.append((started, time.time(), -1))

    return Timed


def result(trainer: Any) -> dict[str, Any]:
    """Spans and losses; the training loss is the mean of the last epoch's where it was logged by epoch."""
    history = trainer.state.log_history
    train = [entry["loss"] for entry in history if "loss" in entry]
    return {
        "spans": trainer.spans,
        "train_loss": train[-1] if train else None,
        "eval_loss": [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1],
    }
