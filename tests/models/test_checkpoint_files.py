"""A model folder, looked at without loading it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from llama_experiments.errors import UserError
from llama_experiments.models.checkpoint_files import checkpoint_problem, read_header, weight_files


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_a_whole_checkpoint(model_folder: Path) -> None:
    assert checkpoint_problem(model_folder) is None
    tensors = read_header(model_folder / "model.safetensors")
    assert tensors["model.norm.weight"]["shape"] == [32]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"123456789"),
        *(
            safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | wrong}, b"12345678")
            for wrong in (
                {"shape": [2**40, 2**40]},
                {"shape": [-1, -2]},
                {"shape": [2.0]},
                {"dtype": "Q9"},
                {"dtype": "I8"},
                {"data_offsets": [-8, 8]},
                {"data_offsets": [0, "8"]},
                {"data_offsets": []},
            )
        ),
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        safetensors([1, 2]),
        safetensors({"a": 3}),
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 1 << 60) + b"{}",
    ],
)
def test_a_damaged_file(content: bytes, tmp_path: Path) -> None:
    (file := tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="is cut off or damaged"):
        read_header(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3, "b": "c"}}'])
def test_an_index_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UserError, match="is not an index of weights"):
        weight_files(tmp_path)


def test_an_index_that_names_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(UserError, match=r"lacks model-1\.safetensors"):
        weight_files(tmp_path)
