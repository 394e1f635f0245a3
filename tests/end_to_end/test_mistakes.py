"""What people get wrong, one by one: a sentence, exit status 2, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llama_experiments.command_line.composition import compose_command
from tests.conftest import Command, save_tiny_llama
from tests.end_to_end.conftest import COMMAND_LINE, Refused, left_behind

NOT_OURS = "is not one of ours"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of a user's own configs, each with its mistake."""
    folder = tmp_path / "mine"
    for name, text in {
        "technique/typo": "_target_: llama_experiments.techniques.base.Technique\nrnk: 3\n",
        "technique/system": "_target_: os.system\ncommand: touch pwned\n",
        "technique/popen": "_target_: subprocess.Popen\nargs: [touch, pwned]\n",
        "technique/syntax": "_target_: llama_experiments.techniques.base.Technique\n  a: [\n",
        "technique/dangling": "_target_: llama_experiments.techniques.base.Technique\nx: ${nothing.there}\n",
        "experiment/typo": "# @package _global_\ntraining:\n  epochz: 3\n",
        "experiment/choice": "# @package _global_\ndefaults:\n  - override /model: embeded\n",
        "experiment/group": "# @package _global_\ndefaults:\n  - override /modle: embedded\n",
    }.items():
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # Unknown keys: the nearest is offered.
        ("training.epohcs=1", ["training.epohcs: Training has no such", "'epochs'", COMMAND_LINE]),
        ("+training.lrr=1", ["training.lrr", "did you mean 'learning_rate'", COMMAND_LINE]),
        ("++training.learning_rat=1", ["training.learning_rat", "did you mean 'learning_rate'"]),
        ("technique.rnk=3", ["technique.rnk", "no such setting", COMMAND_LINE]),
        ("learning_rate=1", ["learning_rate: there is no such setting", "did you mean 'training.learning_rate'"]),
        ("lr=1", ["did you mean 'training.learning_rate'"]),
        ("sed=1", ["did you mean 'seed'"]),
        ("dataset.columns.txt=x", ["dataset.columns.txt", "did you mean 'text'", COMMAND_LINE]),
        # Values of the wrong type, or none of those there are.
        ("training.epochs=lots", ["training.epochs: must be a whole number, not 'lots'", COMMAND_LINE]),
        ("training.epochs=1.5", ["training.epochs: must be a whole number, not 1.5"]),
        ("training.epochs=", ["training.epochs: must be a whole number, not ''"]),
        ("training.epochs=null", ["training.epochs: must be a whole number, not None"]),
        ("dataset.columns=3", ["dataset.columns: must be a group of settings, not 3"]),
        ("training.schedule=linaer", ["training.schedule: must be one of linear, cosine", "did you mean 'linear'"]),
        ("training=3", ["there is no training '3'"]),
        # Values out of range.
        ("training.learning_rate=-1", ["training.learning_rate: must be a positive number, not -1", COMMAND_LINE]),
        ("training.learning_rate=0", ["must be a positive number, not 0"]),
        ("training.learning_rate=nan", ["must be a positive number, not nan"]),
        ("training.learning_rate=inf", ["must be a positive number, not inf"]),
        ("training.batch_size=0", ["training.batch_size: must be at least 1, not 0"]),
        ("task.max_length=100", ["task.max_length: 100 tokens are more than the model's 64 positions", COMMAND_LINE]),
        ("seed=-1", ["seed: must be from 0 to", COMMAND_LINE]),
        ("output_dir=", ["output_dir: must be a folder", COMMAND_LINE]),
        # Unknown choices and groups.
        ("model=embeded", ["there is no model 'embeded'; did you mean 'embedded'?", COMMAND_LINE]),
        ("task=zzz", ["there is no task 'zzz'; the choices: ", "sentiment"]),
        ("technique=null", ["technique: null is no choice", "full"]),
        ("modle=embedded", ["modle: there is no such setting; did you mean 'model'?"]),
        ("--config-name nothere", ["--config-name: there is no config 'nothere'"]),
        # Several at once.
        ("training.lrr=1 training.epohcs=2", ["training.lrr", "training.epohcs"]),
        ("technique=ful training.epochs=lots", ["did you mean 'full'", "training.epochs: must be"]),
        ("training.epochs=0 training.batch_size=-1", ["epochs: must be at", "batch_size: must be at"]),
        ("training.epochs=x training.batch_size=-1", ["epochs: must be a whole", "batch_size: must be at least 1"]),
        # Targets that are not ours, or not what belongs there; none is imported.
        ("technique._target_=os.system", ["'os.system'", NOT_OURS, COMMAND_LINE]),
        ("technique._target_=subprocess.Popen", ["'subprocess.Popen'", NOT_OURS]),
        ("technique._target_=antigravity.fly", ["'antigravity.fly'", NOT_OURS]),
        ("technique._target_=llama_experiments.cli.os.system", ["there is no module 'llama_experiments.cli.os'"]),
        ("technique._target_=llama_experiments.models.checkpoint.Checkpoint", ["is not a Technique"]),
        ("technique._target_=llama_experiments.techniques.base.Techniqe", ["did you mean 'Technique'"]),
        ("technique._target_=llama_experiments.nothing.X", ["there is no module 'llama_experiments.nothing'"]),
        # What is no override, or refers to nothing.
        ("training.epochs", ["'training.epochs' is not an override (setting=value)"]),
        ("=x", ["'=x' is not an override", "it names no setting"]),
        ("training.epochs=[1", ["'training.epochs=[1' is not an override"]),
        ("training.epochs=${nope.there}", ["training.epochs: refers to 'nope.there'", COMMAND_LINE]),
        ("~training.epohcs", ["training.epohcs"]),
        ("hydra.run.dri=x", ["hydra.run.dri"]),
        ("hydra.run.dir=${nope}", ["hydra.run.dir: refers to 'nope'", COMMAND_LINE]),
        ("--mutlirun", ["unrecognized arguments: --mutlirun; did you mean '--multirun'?"]),
        ("--experimental-rerun config.pickle", ["unpickles"]),
        # A user's own configs.
        ("--config-dir nothere", ["--config-dir: there is no folder nothere"]),
        ("--config-dir mine technique=typo", ["technique.rnk", "(mine/technique/typo.yaml)"]),
        ("--config-dir mine technique=tipo", ["did you mean 'typo'", COMMAND_LINE]),
        ("--config-dir mine technique=system", [NOT_OURS, "(mine/technique/system.yaml)"]),
        ("--config-dir mine technique=popen", [NOT_OURS, "(mine/technique/popen.yaml)"]),
        ("--config-dir mine technique=syntax", ["line 2 is not YAML", "(mine/technique/syntax.yaml)"]),
        ("--config-dir mine technique=dangling", ["technique.x: refers to 'nothing.there'", "dangling.yaml"]),
        ("--config-dir mine experiment=typo", ["training.epochz", "'epochs'", "(mine/experiment/typo.yaml)"]),
        ("--config-dir mine experiment=group", ["modle: there is no group to override", "'model'", "group.yaml"]),
        # Sweeps: every value is looked at before the first job.
        ("-m training.learning_rate=1e-3,-1", ["training.learning_rate: must be a positive number, not -1"]),
        ("-m training.learning_rate=1e-3,x training.epochs=1,0", ["not 'x'", "not 0"]),
        ("-m technique=full,ful", ["there is no technique 'ful'; did you mean 'full'"]),
        ("-m seed=range(0,0)", ["seed: the sweep has no values"]),
        ("-m seed=choice()", ["'seed=choice()' is not an override"]),
        ("training.learning_rate=1e-3,1e-2", ["training.learning_rate: several values are a sweep, which needs -m"]),
        # Where it is to be written.
        ("output_dir=train.csv", ["output_dir: train.csv is a file where a folder belongs", COMMAND_LINE]),
        ("output_dir=/proc/nothing", ["output_dir: no folder can be made in /proc"]),
        ("hydra.run.dir=train.csv/x", ["hydra.run.dir: train.csv is a file where a folder belongs"]),
        ("hydra.run.dir=/proc/nothing/x", ["hydra.run.dir: no folder can be made in /proc"]),
        # Arithmetic.
        ("training.precision=fp16", ["training.precision: fp16 needs a GPU"]),
        ("model.dtype=bf16 training.precision=fp32", ["model.dtype: bf16 needs training.precision=bf16"]),
        # Secrets have no place in a config.
        ("tracker.uri=http://me:pass1word@localhost:9", ["tracker.uri: must not hold a password", "MLFLOW_"]),
    ],
)  # fmt: skip
def test_a_mistake_in_the_config(
    arguments: str, words: list[str], refused: Refused, local_run: list[str], mine: Path, tmp_path: Path
) -> None:
    if arguments.startswith(("training.precision=fp16", "model.dtype")):
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("a GPU takes it")
    said = refused(*local_run, *arguments.split())
    for word in words:
        assert word in said
    assert "pass1word" not in said
    assert not (tmp_path / "pwned").exists()


def test_a_preset_with_an_unknown_choice(refused: Refused, mine: Path) -> None:
    said = refused("--config-dir", "mine", "experiment=choice")
    assert (
        said == "model: there is no model 'embeded'; did you mean 'embedded'?       (mine/experiment/choice.yaml)\n"
    )


def test_all_that_is_missing_is_told_together(refused: Refused) -> None:
    said = refused("model=local", "dataset=local_sentiment").splitlines()
    assert [line.split(":")[0] for line in said] == ["model.checkpoint", "dataset.train"]
    assert "(conf/model/local.yaml)" in said[0]
    assert "(conf/dataset/local_sentiment.yaml)" in said[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rnk": 3}, ["rnk: there is no such setting", "(saved/config.yaml)"]),
        ({"technique": {"_target_": "os.system"}}, [NOT_OURS, "(saved/config.yaml)"]),
        ({"technique": {"_target_": "subprocess.Popen"}}, [NOT_OURS]),
        ({"training": {"epohcs": 1}}, ["training.epohcs", "did you mean 'epochs'", "(saved/config.yaml)"]),
        ({"hydra": {"callbacks": {"x": {"_target_": "os.system"}}}}, ["'hydra' node"]),
        ({"defaults": ["x"]}, ["'defaults' node"]),
        ({"output_dir": "${oc.env:HOME}"}, ["resolver", "oc.env"]),
        ({"a": "oc.env", "output_dir": "${${a}:HOME}"}, ["resolver"]),
    ],
)
def test_a_mistake_in_a_saved_config(
    change: dict[str, Any], words: list[str], refused: Refused, local_run: list[str], tmp_path: Path
) -> None:
    saved = compose_command(local_run).tree
    for key, value in change.items():
        saved[key] = saved.get(key, {}) | value if isinstance(value, dict) else value
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "config.yaml").write_text(json.dumps(saved))
    said = refused("--config-path", "saved")
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('output_dir: "\\u0024{oc.env:HOME}"\n', ["resolver"]),  # however it is written
        ("# @package hydra\ncallbacks: {}\n", ["'@package' node"]),
        ("a: [\n", ["line 2 is not YAML"]),
        ("- 1\n", ["is not a config"]),
    ],
)
def test_a_saved_config_that_is_none(text: str, words: list[str], refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    said = refused("--config-path", ".")
    for word in words:
        assert word in said


def test_there_is_no_saved_config(refused: Refused) -> None:
    assert "--config-path: there is no file nothere/config.yaml" in refused("--config-path", "nothere")


def test_another_runs_folder_is_left_alone(refused: Refused, local_run: list[str], tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "0").mkdir(parents=True)
    (theirs / "epochs.jsonl").touch()
    (theirs / "0" / "epochs.jsonl").touch()
    assert "belongs to another run already" in refused(*local_run, "hydra.run.dir=theirs")
    (theirs / "epochs.jsonl").unlink()
    assert "belongs to another run already" in refused("-m", *local_run, "seed=1,2", "hydra.sweep.dir=theirs")
    assert left_behind(theirs) == {"0", "0/epochs.jsonl"}


def broken_models(folder: Path, model: Path, tokenizer: Path) -> None:
    """Model folders, each with something wrong."""

    def copy(name: str) -> Path:
        shutil.copytree(model, folder / name)
        return folder / name

    def change(name: str, **settings: object) -> None:
        file = copy(name) / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))

    (copy("no_tokenizer") / "tokenizer.json").unlink()
    weights = copy("cut_off") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    pickled = copy("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (copy("broken_config") / "config.json").write_text('{"model_type": ')
    (copy("broken_tokenizer") / "tokenizer.json").write_text('{"noth')
    change("gpt2", model_type="gpt2")
    change("more_layers", num_hidden_layers=3)
    change("fewer_layers", num_hidden_layers=1)
    change("wider", hidden_size=48)
    change("junk", hidden_size="many")
    save_tiny_llama(folder / "few_embeddings", tokenizer, vocab_size=200)


@pytest.fixture(scope="module")
def models(model_folder: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    broken_models(folder, model_folder, tokenizer_folder)
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt", ["there is no folder", "did you mean 'gpt2'?", COMMAND_LINE]),
        ("gpt2/config.json", ["is a file; give the folder"]),
        ("no_tokenizer", ["has no tokenizer", COMMAND_LINE]),
        ("cut_off", ["model.safetensors is not a whole safetensors file", COMMAND_LINE]),
        ("pickled", ["its weights are pickled (pytorch_model.bin): convert them to safetensors"]),
        ("broken_config", ["config.json is not JSON"]),
        ("broken_tokenizer", ["tokenizer.json is not valid JSON"]),
        ("gpt2", ["holds a model of type 'gpt2'; only 'llama'"]),
        ("more_layers", ["9 tensors of the model did not come from", "and 5 more"]),
        ("fewer_layers", ["9 tensors of", "have no place in this model"]),
        ("wider", ["has shape [320, 32] for [320, 48]", "more"]),
        ("junk", ["cannot be loaded", "hidden_size"]),
        ("few_embeddings", ["its tokenizer has ids up to 319, but the model has 200 embeddings"]),
    ],
)
def test_a_mistake_in_the_model(
    name: str, words: list[str], refused: Refused, local_run: list[str], models: Path
) -> None:
    said = refused(*local_run, f"model.checkpoint={models / name}")
    for word in words:
        assert word in said


def test_offline_all_that_was_never_downloaded_is_told(refused: Refused) -> None:
    said = refused("model=llama2_7b", "dataset=imdb").splitlines()
    assert "'meta-llama/Llama-2-7b-hf' was not downloaded before" in said[0]
    assert "(conf/model/llama2_7b.yaml)" in said[0]
    assert "'stanfordnlp/imdb' was not downloaded before" in said[1]


def test_without_a_network_the_answer_takes_seconds(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("llama_experiments.hub.PROBE_SECONDS", 0.2)
    assert "the Hub cannot be reached" in refused("model=llama2_7b")


class _Hub(BaseHTTPRequestHandler):
    """Alive, and refusing every repository."""

    refusal = (403, "GatedRepo")

    def do_HEAD(self) -> None:
        status, code = (200, "") if self.path == "/" else self.refusal
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"{}")

    do_GET = do_POST = do_HEAD

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("refusal", "arguments", "words"),
    [
        ((403, "GatedRepo"), "model=llama2_7b", "model.checkpoint: 'meta-llama/Llama-2-7b-hf' is gated"),
        ((404, "RepoNotFound"), "dataset=imdb", "dataset.name: there is no 'stanfordnlp/imdb' on the Hub"),
    ],
)
def test_the_hub_refuses(
    refusal: tuple[int, str],
    arguments: str,
    words: str,
    hub: str,
    command: Command,
    local_run: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_Hub, "refusal", refusal)
    part = "model" if arguments.startswith("model") else "dataset"
    rest = [argument for argument in local_run if not argument.startswith(part)]
    token = "hf_secret1234567890"
    home = str(tmp_path / "huggingface")
    done = command(*rest, arguments, HF_ENDPOINT=hub, HF_HUB_OFFLINE="0", HF_TOKEN=token, HF_HOME=home)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "hf auth login" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert token not in done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(token.encode() in path.read_bytes() for path in files)
    assert not list((tmp_path / "outputs").rglob(".hydra"))


@pytest.mark.parametrize("answers", [False, True])
def test_a_silent_tracking_server_does_not_stop_a_run(
    answers: bool, run: Callable[..., int], local_run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`answers`: the server takes the connection, and then never says a word."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:
            server.listen(50)
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        status = run(*local_run, f"tracker.uri={uri}", "hydra.run.dir=run", "training.save_model=none")
    said = capsys.readouterr().err
    assert status == 0, said
    assert said.count("does not answer") == 1
    assert uri in said
    assert len((tmp_path / "run" / "epochs.jsonl").read_text().splitlines()) == 2


def test_a_mistake_is_told_in_a_launchers_process_too(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    assert "--multirun cannot be used inside a launcher" in refused("-m", "seed=1,2")
