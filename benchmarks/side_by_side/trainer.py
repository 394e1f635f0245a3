"""Hugging Face's Trainer: as the tutorial has it, at its best, and with `peft`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from side_by_side.cases import PEFT, TUTORIAL, Work
from side_by_side.encoding import load, tables

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments

    from side_by_side.measure import Span


def run(work: Work, way: str) -> dict[str, Any]:
    """Train and evaluate each epoch, save, and track in MLflow."""
    import transformers

    model, tokenizer = load(work)
    parts = tables(work, tokenizer)
    if way == PEFT:
        import peft

        kind = "CAUSAL_LM" if work.task == "text_generation" else "SEQ_CLS"
        settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type=kind)
        model = peft.get_peft_model(model, settings)
    fixed = way == TUTORIAL
    padding: dict[str, Any] = {"padding": "max_length", "max_length": work.max_length} if fixed else {}
    if work.task == "text_generation":
        if fixed:
            parts = parts.map(lambda rows: _padded_texts(rows, work.max_length, tokenizer.pad_token_id), batched=True)
        collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    else:
        collator = transformers.DataCollatorWithPadding(tokenizer, **padding)
    trainer = timed(transformers.Trainer)(
        model=model,
        args=arguments(work, best=not fixed),
        train_dataset=parts["train"],
        eval_dataset=parts["validation"],
        data_collator=collator,
        processing_class=tokenizer,
    )
    trainer.train()
    return result(trainer) | {"tokens": sum(parts["train"]["length"])}


def _padded_texts(rows: dict[str, list[Any]], length: int, pad: int) -> dict[str, list[Any]]:
    """Windows padded beforehand; the collator ignores pad tokens as labels."""
    return {
        "input_ids": [ids + [pad] * (length - len(ids)) for ids in rows["input_ids"]],
        "attention_mask": [mask + [0] * (length - len(mask)) for mask in rows["attention_mask"]],
    }


def arguments(work: Work, best: bool, kind: type | None = None, **further: Any) -> TrainingArguments:
    """The tutorial's: defaults. The best: rows of similar lengths, bf16 where it helps, less saved."""
    import torch
    import transformers

    given: dict[str, Any] = {
        "output_dir": work.folder,
        "num_train_epochs": work.epochs,
        "learning_rate": work.learning_rate,
        "weight_decay": work.weight_decay,
        "per_device_train_batch_size": work.micro_batch_size or work.batch_size,
        "gradient_accumulation_steps": work.batch_size // (work.micro_batch_size or work.batch_size),
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
        "report_to": "mlflow",
        "seed": work.seed,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": work.gradient_checkpointing,
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
    """Spans, and the last epoch's losses."""
    history = trainer.state.log_history
    return {
        "spans": trainer.spans,
        "train_loss": [entry["loss"] for entry in history if "loss" in entry][-1],
        "eval_loss": [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1],
    }
