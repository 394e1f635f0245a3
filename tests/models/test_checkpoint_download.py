"""A name on the Hub: what is fetched of it, and what is not; a local server stands in for the Hub."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from llama_experiments.errors import UserError
from llama_experiments.models.checkpoint import Checkpoint
from llama_experiments.models.checkpoint_files import INDEX, SINGLE
from tests.conftest import save_tiny_llama
from tests.models.checkpoints import SENTIMENT, TEXT, change, differing, store, stored

NAME, COMMIT, NEWER = "someone/tiny-llama", "a" * 40, "b" * 40
SMALL = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
EXTRA = {  # what real repositories hold beside
    "README.md",
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "original/consolidated.00.pth",
    "original/params.json",
    "onnx/model.onnx",
    "onnx/config.json",
    "consolidated.safetensors",
    "model.fp16.safetensors",
    "adapter_model.safetensors",
    "tiny-llama.Q4_K_M.gguf",
    "training_args.bin",
    "remote_code.py",
}


class Hub(ThreadingHTTPServer):
    """As much of the Hub's protocol as a download needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.commit = COMMIT
        self.on_tree: Callable[[], None] = lambda: None

    def take(self, folder: Path) -> None:
        """Have a folder's files."""
        self.files |= {path.name: path.read_bytes() for path in folder.iterdir()}


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        if path == f"/api/models/{NAME}/revision/main":
            self.say(json.dumps({"id": NAME, "sha": hub.commit}).encode())
        elif path.startswith(f"/api/models/{NAME}/tree/"):
            sizes = {name: len(data) for name, data in hub.files.items()}
            tree = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in sizes.items()]
            self.say(json.dumps(tree).encode())
            hub.on_tree()
        elif (name := path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")) in hub.files:
            if self.command == "GET":
                hub.fetched.append(name)
            self.say(hub.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        else:
            code = "RevisionNotFound" if "/revision/" in path else "EntryNotFound"
            self.say(b"", {"X-Error-Code": code}, status=404)

    do_HEAD = do_GET

    def say(self, data: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def source(tmp_path: Path, tokenizer_folder: Path) -> Path:
    return save_tiny_llama(tmp_path / "source", tokenizer_folder)


def test_only_what_is_needed_is_fetched_and_once(hub: Hub, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.take(source)
    hub.files |= dict.fromkeys(EXTRA, b"gigabytes")
    loaded = Checkpoint(checkpoint=NAME).load(SENTIMENT, 0)
    assert sorted(hub.fetched) == sorted({*SMALL, SINGLE})
    assert hub.fetched[-1] == SINGLE  # the small ones first
    assert differing(loaded.model, stored(source)) == loaded.fresh == ["score.weight"]
    assert loaded.name == NAME
    hub.fetched.clear()
    Checkpoint(checkpoint=NAME).load(TEXT, 0)
    assert hub.fetched == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert differing(Checkpoint(checkpoint=NAME).load(TEXT, 0).model, stored(source)) == []


def test_of_several_files_those_of_the_index_are_fetched(hub: Hub, source: Path) -> None:
    tensors = stored(source)
    store(source, tensors, files=3)
    hub.take(source)
    hub.files |= dict.fromkeys([*EXTRA, "model-00001-of-00004.safetensors"], b"gigabytes")
    loaded = Checkpoint(checkpoint=NAME).load(TEXT, 0)
    shards = {f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)}
    assert sorted(hub.fetched) == sorted({*SMALL, INDEX, *shards})
    assert differing(loaded.model, tensors) == []


def test_all_files_are_of_one_commit(hub: Hub, source: Path) -> None:
    """Somebody pushes another model between the small files and the weights."""
    hub.take(source)

    def push() -> None:
        hub.commit = NEWER

    hub.on_tree = push
    assert differing(Checkpoint(checkpoint=NAME).load(TEXT, 0).model, stored(source)) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_type": "mistral"}, r"holds a model of type 'mistral'; only 'llama'"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"holds quantized weights \(gptq\)"),
        ({"max_position_embeddings": 32}, r"task\.max_length: 64 tokens are more than the model's 32 positions"),
    ],
)
def test_a_model_that_is_no_use_is_refused_before_its_weights_are_fetched(
    settings: dict[str, object], words: str, hub: Hub, source: Path
) -> None:
    change(source / "config.json", **settings)
    hub.take(source)
    with pytest.raises(UserError, match=words):
        Checkpoint(checkpoint=NAME).load(SENTIMENT, 0)
    assert set(hub.fetched) == SMALL


def test_pickled_weights_are_not_taken(hub: Hub, source: Path) -> None:
    hub.take(source)
    hub.files["pytorch_model.bin"] = hub.files.pop(SINGLE)
    with pytest.raises(UserError, match=rf"'{NAME}' has no model\.safetensors on the Hub; pickled weights.*revision"):
        Checkpoint(checkpoint=NAME).load(SENTIMENT, 0)
    assert set(hub.fetched) == SMALL


@pytest.mark.parametrize("knows", [True, False])
def test_a_download_that_was_cut_off_is_told_offline(
    knows: bool, hub: Hub, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`knows`: whether the library remembers what a whole download would have been."""
    hub.take(source)
    Checkpoint(checkpoint=NAME).load(SENTIMENT, 0)
    (weights,) = (tmp_path / "hub").rglob(f"snapshots/*/{SINGLE}")
    weights.unlink()
    if not knows:  # as after a download by other means; it remembers in memory as well, by the folder
        (trees,) = (tmp_path / "hub").rglob("trees")
        shutil.rmtree(trees)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str((tmp_path / "hub").rename(tmp_path / "other")))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=rf"model\.checkpoint: '{NAME}' was not downloaded before and the Hub cannot"):
        Checkpoint(checkpoint=NAME).load(SENTIMENT, 0)


def test_a_revision_that_is_not_there(hub: Hub, source: Path) -> None:
    hub.take(source)
    with pytest.raises(UserError, match=f"model.checkpoint: '{NAME}' has no such revision"):
        Checkpoint(checkpoint=NAME, revision="nope").load(SENTIMENT, 0)
    assert hub.fetched == []
