"""The same tokens as ours, made with the tokenizer that `AutoTokenizer` loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from side_by_side.cases import Work
from side_by_side.data import Row, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

STRIDE = 128  # tokens of a context that neighbouring windows share
PARTS = ("train", "validation")


def load(work: Work) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Tokenizer and model for the task, the trunk of question answering mapped, with what is frozen frozen."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(work.model)
    tokenizer.padding_side = "right"
    tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "sentiment": (transformers.LlamaForSequenceClassification, {"num_labels": 2}),
        "question_answering": (
            transformers.LlamaForQuestionAnswering,
            {"key_mapping": {r"^model\.": "transformer."}},  # or none of the trunk is loaded
        ),
        "text_generation": (transformers.LlamaForCausalLM, {}),
    }
    kind, given = kinds["text_generation" if work.technique == "few_shot" else work.task]
    transformers.set_seed(work.seed)
    narrow = work.technique == "lora" and work.bf16 and torch.cuda.is_available()  # what is frozen needs no more
    model = kind.from_pretrained(work.model, dtype="bfloat16" if narrow else "float32", **given)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = False
    if work.technique == "freeze":
        _freeze(model, work.layers)
    return model, tokenizer


def _freeze(model: PreTrainedModel, layers: int) -> None:
    """Leave the head open, and the last layers with the norm after them."""
    trunk = model.base_model
    trunk.requires_grad_(False)
    if layers:
        trunk.norm.requires_grad_(True)
        for layer in trunk.layers[-layers:]:
            layer.requires_grad_(True)


def encode(work: Work, tokenizer: PreTrainedTokenizerFast) -> dict[str, list[Row]]:
    """Both parts as examples: `input_ids` and, but for texts, labels."""
    return {part: MAKERS[work.task](read_rows(getattr(work, part)), work, tokenizer) for part in PARTS}


def tables(work: Work, tokenizer: PreTrainedTokenizerFast) -> Any:
    """The same as the tutorials make it, with `datasets`: `load_dataset` and a batched `map`."""
    import datasets

    datasets.disable_progress_bars()

    def examples(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        made = MAKERS[work.task](rows, work, tokenizer)
        found = {name: [example[name] for example in made] for name in made[0]}
        ids = found["input_ids"]
        return found | {"attention_mask": [[1] * len(own) for own in ids], "length": [len(own) for own in ids]}

    loaded = datasets.load_dataset("json", data_files={part: getattr(work, part) for part in PARTS})
    return loaded.map(examples, batched=True, remove_columns=loaded["train"].column_names)


def _classes(rows: list[Row], work: Work, tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=work.max_length)["input_ids"]
    return [{"input_ids": own, "labels": row["label"]} for own, row in zip(ids, rows, strict=True)]


def _windows(rows: list[Row], work: Work, tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    """Windows of documents that share a token, so that each is predicted once; the collator makes their labels."""
    step = work.max_length - 1
    documents = [[*ids, tokenizer.eos_token_id] for ids in tokenizer([row["text"] for row in rows])["input_ids"]]
    return [{"input_ids": ids[at : at + work.max_length]} for ids in documents for at in range(0, len(ids) - 1, step)]


def _spans(rows: list[Row], work: Work, tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    """Question, a window of the context, end of text; an answer that a window does not hold is its last token."""
    questions = tokenizer([f"{row['question']}\n" for row in rows])["input_ids"]
    contexts = tokenizer([row["context"] for row in rows], add_special_tokens=False, return_offsets_mapping=True)
    examples = []
    for row, question, ids, places in zip(
        rows, questions, contexts["input_ids"], contexts["offset_mapping"], strict=True
    ):
        begin = row["answers"]["answer_start"][0]
        end = begin + len(row["answers"]["text"][0])
        touching = [at for at, (a, b) in enumerate(places) if a < end and b > begin]
        room = work.max_length - len(question) - 1
        shared = min(STRIDE, room - 1)
        for at in range(0, max(1, len(ids) - shared), room - shared):
            part = ids[at : at + room]
            whole = [*question, *part, tokenizer.eos_token_id]
            start = stop = len(whole) - 1
            if at <= touching[0] and touching[-1] < at + len(part):
                start, stop = len(question) + touching[0] - at, len(question) + touching[-1] - at
            examples.append({"input_ids": whole, "start_positions": start, "end_positions": stop})
    return examples


MAKERS: dict[str, Callable[[list[Row], Work, PreTrainedTokenizerFast], list[Row]]] = {
    "sentiment": _classes,
    "question_answering": _spans,
    "text_generation": _windows,
}
