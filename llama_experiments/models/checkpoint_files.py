"""A model folder in Hugging Face format, looked at without loading it: is it whole, is it a Llama."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llama_experiments.errors import UserError, offer

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = "adapter_config.json"
# Of a value, by what safetensors calls its type.
BITS = (
    dict.fromkeys(("F64", "I64", "U64", "C64"), 64)
    | dict.fromkeys(("F32", "I32", "U32"), 32)
    | dict.fromkeys(("F16", "BF16", "I16", "U16"), 16)
    | dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
    | {"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
)
LARGEST_HEADER = 100_000_000  # bytes; safetensors takes no more either


def checkpoint_problem(folder: Path) -> str | None:
    """What keeps a folder from being a whole Llama checkpoint with its tokenizer, or None."""
    if not folder.exists():
        siblings = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        return f"there is no folder {folder}; {offer(folder.name, siblings[:200], 'folders there')}"
    if not folder.is_dir():
        return f"{folder} is a file; give the folder of the model"
    if (sentence := config_problem(folder)) is not None:
        return sentence
    try:
        for file in weight_files(folder):
            read_header(file)
    except UserError as error:
        return str(error)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return f"{folder} has no tokenizer: neither tokenizer.json nor tokenizer.model is there"
    return None


def config_problem(folder: Path) -> str | None:
    """What the small files of a folder say against fine-tuning its model, or None."""
    try:
        config = model_config(folder)
    except UserError as error:
        return str(error)
    if config.get("model_type") != "llama":
        return f"{folder} holds a model of type '{config.get('model_type')}'; only 'llama' is fine-tuned here"
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            method = config[key].get("quant_method") if isinstance(config[key], dict) else None
            kind = f" ({method})" if method else ""
            return f"{folder} holds quantized weights{kind}; fine-tuning starts from plain ones: fp32, bf16 or fp16"
    if (folder / ADAPTER).is_file():
        # With the package peft installed transformers would add it to the weights, without it would not.
        return f"{folder} holds an adapter beside a model ({ADAPTER}): merge it, or take its files out of the folder"
    return None


def model_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`.

    Raises:
        UserError: missing or not JSON.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{folder} has no config.json: {_instead_of_a_model(folder)}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} holds no settings")
    return config


def _instead_of_a_model(folder: Path) -> str:
    """What a folder without a config.json is, as far as its files tell."""
    if (folder / ADAPTER).is_file():
        return (
            "it holds an adapter (LoRA), which is no model of its own; merge it into its base model with peft's "
            "merge_and_unload and save that"
        )
    if (folder / "params.json").is_file():
        return "it is in Meta's own format; convert it with transformers' convert_llama_weights_to_hf.py"
    inside = sorted({path.parent for form in ("*", "snapshots/*") for path in folder.glob(f"{form}/config.json")})
    if inside:
        return f"it is not a model in Hugging Face format; did you mean {inside[-1]}?"
    return "it is not a model in Hugging Face format"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights.

    Raises:
        UserError: there are none, or the index names one that is missing.
    """
    if (folder / SINGLE).is_file():  # before an index, as transformers has it
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        pickled = any(folder.glob("pytorch_model*.bin"))
        advice = "; its weights are pickled (pytorch_model.bin): convert them to safetensors" if pickled else ""
        raise UserError(f"{folder} has no {SINGLE}{advice}")
    names = indexed_files(folder)
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder} lacks {name}, which its index names")
    return [folder / name for name in names]


def indexed_files(folder: Path) -> list[str]:
    """The names of the files that the folder's index of weights refers to.

    Raises:
        UserError: it is no such index.
    """
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        strange = next((name for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", name)), None)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / INDEX} is not an index of weights") from error
    if strange is not None:
        raise UserError(f"{folder / INDEX} names {strange!r}: weights are safetensors files beside it")
    return names


def _end_of_data(entries: Iterable[dict[str, Any]]) -> int:
    """Where the last tensor ends, each beginning where another ended and as long as its shape says.

    Raises:
        ValueError, KeyError, TypeError: it is not so.
    """
    end = 0
    for start, stop, entry in sorted(((*entry["data_offsets"], entry) for entry in entries), key=lambda one: one[:2]):
        size = math.prod(entry["shape"]) * BITS[entry["dtype"]] // 8
        if start != end or stop - start != size or any(type(side) is not int or side < 0 for side in entry["shape"]):
            raise ValueError("tensors that do not lie end to end")
        end = stop
    return end


def read_header(file: Path) -> dict[str, dict[str, Any]]:
    """The tensors of a safetensors file: name -> dtype, shape, data_offsets.

    Raises:
        UserError: cut off or damaged.
    """
    size = file.stat().st_size
    damaged = UserError(f"{file} is not a whole safetensors file: it is cut off or damaged; copy it again")
    if size < 8:
        raise damaged
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(size - 8, LARGEST_HEADER):
            raise damaged
        try:
            header = json.loads(stream.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = _end_of_data(tensors.values())
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise damaged from error
    if 8 + length + end != size:
        raise damaged
    return tensors
