"""A model's shape, from its config.json or settings: no weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.checkpoint_files import config_problem, model_config, read_header, weight_files
from llama_experiments.models.from_scratch import FromScratch
from llama_experiments.paths import resolve

if TYPE_CHECKING:
    from llama_experiments.models.base import Model

STORED = {"F64": "float32", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # as a run loads them


def small_files(model: Model) -> Path:
    """The folder of what is small of a model: its config.json and its tokenizer; of the Hub's, fetched.

    Raises:
        UserError: they cannot be reached, or say that this is no model to be fine-tuned here.
    """
    if isinstance(model, FromScratch):
        return resolve(model.tokenizer)
    assert isinstance(model, Checkpoint)
    folder = model.small_files() if model.needs_hub else resolve(model.checkpoint)
    if (sentence := config_problem(folder)) is not None:
        raise UserError(f"model.checkpoint: {sentence}")
    return folder


def model_shape(model: Model) -> dict[str, Any]:
    """The model's config.json, or what a run would make it; `dtype` is what the weights are stored in.

    Raises:
        UserError: it cannot be reached, or is no Llama's.
    """
    folder = small_files(model)
    if isinstance(model, FromScratch):
        return {**model.shape(), "vocab_size": _vocabulary(folder), "dtype": "float32"}
    shape = model_config(folder)
    if not model.needs_hub:
        kinds = {STORED.get(entry["dtype"]) for file in weight_files(folder) for entry in read_header(file).values()}
        kinds.discard(None)
        shape["dtype"] = kinds.pop() if len(kinds) == 1 else "float32"
    return shape


def _vocabulary(folder: Path) -> int:
    from llama_experiments.models.tokenizer import load_tokenizer

    return int(max(load_tokenizer(folder).get_vocab().values())) + 1
