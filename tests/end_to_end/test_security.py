"""What a stranger's config, run folder or model may not do; and where secrets do not get."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_experiments.command_line.composition import compose_command
from llama_experiments.errors import UserError
from tests.conftest import Command
from tests.end_to_end.conftest import Refused

Run = Callable[..., int]
Said = pytest.CaptureFixture[str]
SMALL = ["dataset.train_examples=8", "dataset.validation_examples=8", "training.epochs=1"]
EVIL = "from pathlib import Path\nPath('ran').touch()\nclass Boom: pass\n"


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the working folder that leaves a trace when it is imported."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def save(folder: Path, change: dict[str, Any], overrides: list[str]) -> Path:
    """A saved config with a change, as a run leaves one."""
    tree = compose_command(overrides).tree
    for path, value in change.items():
        *groups, key = path.split(".")
        node = tree
        for group in groups:
            node = node[group]
        node[key] = value
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return folder


# --- configs


COPY = {"callbacks": {"x": {"_target_": "shutil.copy", "src": "evil.py", "dst": "ran"}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hydra": COPY}, "'hydra' node"),
        ({"hydra": {"run": {"dir": "/elsewhere"}}}, "'hydra' node"),
        ({"hydra": {"searchpath": ["file:///elsewhere"]}}, "'hydra' node"),
        ({"hydra": {"job": {"env_set": {"PYTHONPATH": "x"}}}}, "'hydra' node"),
        ({"hydra": {"job_logging": {"formatters": {"x": {"()": "evil.Boom"}}}}}, "'hydra' node"),
        ({"tracker.experiment": "${oc.env:SECRET}"}, "resolver"),
        ({"tracker.experiment": "${oc.decode:'1'}"}, "resolver"),
        ({"tracker.experiment": "${hydra:runtime.cwd}"}, "resolver"),
        ({"tracker.experiment": "${file_name:x}"}, "resolver"),
        ({"technique._target_": "evil.Boom"}, "not one of ours"),
        ({"model._target_": "llama_experiments_evil.Boom"}, "not one of ours"),
        ({"plugins": ["evil"]}, "plugins: there is no such setting"),
        ({"sweep.axes": {"hydra.callbacks.x._target_": "evil.Boom"}}, "is Hydra's own"),
        ({"model.trust_remote_code": True}, "trust_remote_code: Checkpoint has no such setting"),
        ({"output_dir": "/elsewhere"}, "output_dir: writes to /elsewhere"),
        ({"output_dir": "../elsewhere"}, "output_dir: writes to ../elsewhere"),
        ({"output_dir": "${tracker.experiment}", "tracker.experiment": "/elsewhere"}, "output_dir: writes to /else"),
        ({"output_dir": "/"}, "output_dir: writes to /"),
        ({"tracker.uri": "http://example.org"}, "tracker.uri: records the run there"),
        ({"tracker.uri": "sqlite:////elsewhere/mlflow.db"}, "tracker.uri: records the run there"),
        ({"tracker.uri": "file:///elsewhere"}, "tracker.uri: records the run there"),
        ({"tracker.uri": "sqlite:///x.db?mode=rwc"}, "tracker.uri: records the run there"),
    ],
)
def test_a_saved_config_of_a_stranger(
    change: dict[str, Any], words: str, refused: Refused, traps: Path, local_run: list[str]
) -> None:
    save(traps / "theirs" / ".hydra", change, local_run)
    assert words in refused("--config-path", "theirs/.hydra", *SMALL)
    assert not (traps / "ran").exists()


def test_where_a_replay_writes_can_be_said_by_the_user(run: Run, tmp_path: Path, local_run: list[str]) -> None:
    change = {"output_dir": "/elsewhere", "tracker.uri": "http://example.org"}
    folder = save(tmp_path / "theirs", change, local_run)
    arguments = ["tracker.uri=null", "output_dir=mine", "training.save_model=none"]
    assert run("--config-path", str(folder), *arguments) == 0
    assert list((tmp_path / "mine").glob("*/*/epochs.jsonl"))


def test_a_run_elsewhere_goes_on_writing_where_it_lies(
    run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, local_run: list[str]
) -> None:
    store = tmp_path_factory.mktemp("store")
    folder = save(store / "2026-01-31" / "run" / ".hydra", {"output_dir": str(store)}, local_run)
    assert run("--config-path", str(folder), "training.save_model=none") == 0
    assert len(list(store.glob("*/*/epochs.jsonl"))) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [1]\nb: [*a, *a]\n", "alias"),
        ("a: " + "[" * 100_000 + "\n", "nested deeper"),
        ("- " * 100_000 + "1\n", "nested deeper"),
        ("? " * 100_000 + "1\n", "nested deeper"),
        ("a: 2026-99-99\n", "is not YAML"),
        ("a: '" + "x" * (1 << 20) + "'\n", "larger than"),
    ],
)
def test_a_saved_config_made_to_hang(text: str, words: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert words in refused("--config-path", ".")


def test_groups_beside_a_saved_config(refused: Refused, tmp_path: Path, local_run: list[str]) -> None:
    """Hydra would take its own sweeper's settings from there."""
    folder = save(tmp_path / "theirs" / ".hydra", {}, local_run)
    (folder / "hydra" / "sweeper").mkdir(parents=True)
    (folder / "hydra" / "sweeper" / "basic.yaml").write_text("max_batch_size: 7\n")
    assert "theirs/.hydra/hydra has configs" in refused("--config-path", "theirs/.hydra")
    from llama_experiments.runs.saved import find_run

    with pytest.raises(UserError, match="hydra has configs"):  # as reproduce, resume and evaluate read it
        find_run("theirs").config()


STRANGE = {
    "a hydra node": ("experiment/x.yaml", "# @package _global_\nhydra: {callbacks: {x: {_target_: evil.Boom}}}\n"),
    "a package": ("technique/x.yaml", "# @package hydra.callbacks.x\n_target_: evil.Boom\n"),
    "a moved choice": ("technique/x.yaml", "defaults: [/task/sentiment@_global_.hydra.callbacks.x]\n"),
    "logging": ("experiment/x.yaml", "# @package _global_\nhydra: {job_logging: {filters: {x: {(): evil.Boom}}}}\n"),
    "the environment": ("experiment/x.yaml", "# @package _global_\nhydra: {job: {env_set: {PYTHONPATH: x}}}\n"),
    "the folder": ("experiment/x.yaml", "# @package _global_\nhydra: {run: {dir: elsewhere}}\n"),
    "below the folder": ("experiment/x.yaml", "# @package _global_\nhydra: {output_subdir: ../../elsewhere}\n"),
    "Hydra's own group": ("hydra/sweeper/basic.yaml", "max_batch_size: 7\n"),
    "an axis": ("experiment/x.yaml", "# @package _global_\nsweep: {axes: {hydra.run.dir: elsewhere}}\n"),
    "a plug-in": ("experiment/x.yaml", "# @package _global_\nplugins: [evil]\n"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Hydra's, about a file with the name of one of its own
@pytest.mark.parametrize("what", STRANGE)
def test_a_folder_of_groups_of_a_stranger(what: str, refused: Refused, traps: Path) -> None:
    name, text = STRANGE[what]
    file = traps / "theirs" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    group = name.partition("/")[0]
    said = refused("--config-dir", "theirs", *([] if group == "hydra" else [f"{group}=x"]), *SMALL)
    expected = {"an axis": "is Hydra's own", "a plug-in": "no such setting"}.get(what, "must not set what Hydra does")
    assert expected in said
    assert not (traps / "ran").exists()
    assert not (traps / "elsewhere").exists()


def test_what_the_user_says_of_hydra_stands(run: Run, tmp_path: Path, local_run: list[str]) -> None:
    (tmp_path / "mine" / "technique").mkdir(parents=True)
    text = "_target_: llama_experiments.techniques.base.Technique\n"
    (tmp_path / "mine" / "technique" / "all.yaml").write_text(text)
    own = ["--config-dir", "mine", "technique=all", "experiment=gentle", "+hydra.job.env_set.HARMLESS=1"]
    assert run(*own, *local_run, "training.save_model=none", "hydra.run.dir=there") == 0
    assert (tmp_path / "there" / "epochs.jsonl").exists()


def test_a_date_that_is_none(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine" / "technique").mkdir(parents=True)
    (tmp_path / "mine" / "technique" / "x.yaml").write_text("rank: 2026-99-99\n")
    assert "mine/technique/x.yaml" in refused("--config-dir", "mine", "technique=x")


def test_defaults_that_never_end(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "x.yaml").write_text("defaults: [/task@y: x]\n")
    assert "without end" in refused("--config-dir", "mine", "task=x")


# --- run folders


def test_links_in_a_run_folder(refused: Refused, traps: Path, local_run: list[str]) -> None:
    save(traps / "theirs" / ".hydra", {}, local_run)
    (traps / "private").write_text("{}")
    for name in ("result.json", "epochs.jsonl", "model"):
        (traps / "theirs" / name).symlink_to(traps / "private")
        for verb in (["reproduce", "theirs"], ["compare", "theirs", "theirs"]):
            assert f"theirs/{name} is a link to" in refused(*verb)
        (traps / "theirs" / name).unlink()
    os.mkfifo(traps / "theirs" / "steps.jsonl")
    assert "neither a file nor a folder" in refused("reproduce", "theirs")


def test_a_link_inside_a_run_folder_is_harmless(tmp_path: Path, local_run: list[str]) -> None:
    from llama_experiments.runs.saved import find_run

    save(tmp_path / "mine" / ".hydra", {}, local_run)
    (tmp_path / "mine" / "newest").symlink_to("model")
    (tmp_path / "link").symlink_to("mine")
    assert find_run(str(tmp_path / "link")).config()["seed"] == 0


# --- plug-ins

MINE = '''
import dataclasses
from llama_experiments.techniques.base import Technique

@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlyHead(Technique):
    """The head alone."""

    def adapt_model(self, model, seed):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("score"))
        return model
'''


@pytest.fixture
def own_technique(tmp_path: Path) -> list[str]:
    (tmp_path / "my_techniques.py").write_text(MINE)
    (tmp_path / "mine" / "technique").mkdir(parents=True)
    text = "_target_: my_techniques.OnlyHead\n"
    (tmp_path / "mine" / "technique" / "head.yaml").write_text(text)
    return ["--config-dir", "mine", "technique=head", "training.save_model=none"]


def test_a_technique_of_the_users_own_module(
    command: Command, tmp_path: Path, local_run: list[str], own_technique: list[str]
) -> None:
    refused = command(*local_run, *own_technique)
    assert refused.returncode == 2
    assert "'my_techniques.OnlyHead' is not one of ours" in refused.stderr
    assert "--plugin names on the command line" in refused.stderr
    done = command("--plugin", "my_techniques", *local_run, *own_technique, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert "64 of " in done.stdout  # two classes of 32
    told = command("reproduce", "run")
    assert "is not one of ours" in told.stderr
    again = command("reproduce", "--plugin=my_techniques", "run")
    assert "identical" in again.stdout, again.stderr


def test_a_plugin_reaches_the_processes_of_a_sweep(
    command: Command, tmp_path: Path, local_run: list[str], own_technique: list[str]
) -> None:
    sweep = ["-m", "seed=0", "sweep.isolate=true", "hydra.sweep.dir=sweep"]
    done = command("--plugin=my_techniques", *local_run, *own_technique, *sweep)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "must be a module's name"),
        ("../evil", "must be a module's name"),
        ("nowhere.inside", "it is not found"),
        ("nowhere", "it is not found"),
        ("broken", "it cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_plugin_that_is_none(name: str, words: str, refused: Refused, traps: Path) -> None:
    (traps / "broken.py").write_text("1 / 0\n")
    assert words in refused(f"--plugin={name}")


# --- models


def change_json(file: Path, **settings: Any) -> None:
    told = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(told | settings))


def test_pickled_weights_are_refused(
    refused: Refused, local_run: list[str], model_folder: Path, tmp_path: Path
) -> None:
    import torch

    shutil.copytree(model_folder, tmp_path / "llama")
    (tmp_path / "llama" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "llama" / "pytorch_model.bin")
    said = refused(*local_run, "model.checkpoint=llama")
    assert "its weights are pickled (pytorch_model.bin): convert them to safetensors" in said
    for name in ("pytorch_model.bin", "../x.safetensors", "/x.safetensors"):
        change_json(tmp_path / "llama" / "model.safetensors.index.json", weight_map={"a": name})
        assert "weights are safetensors files beside it" in refused(*local_run, "model.checkpoint=llama")


def test_code_beside_a_model_is_not_run(run: Run, local_run: list[str], model_folder: Path, traps: Path) -> None:
    shutil.copytree(model_folder, traps / "llama")
    for name in ("modeling_evil.py", "tokenization_evil.py"):
        (traps / "llama" / name).write_text(EVIL)
    change_json(
        traps / "llama" / "config.json",
        auto_map={"AutoConfig": "modeling_evil.Boom", "AutoModelForSequenceClassification": "modeling_evil.Boom"},
    )
    change_json(
        traps / "llama" / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["tokenization_evil.Boom", "tokenization_evil.Boom"]},
        trust_remote_code=True,
    )
    assert run(*local_run, "model.checkpoint=llama", "training.save_model=none") == 0
    assert not (traps / "ran").exists()


@pytest.mark.parametrize("setting", ["model.trust_remote_code=true", "+model.trust_remote_code=true"])
def test_remote_code_cannot_be_turned_on(setting: str, refused: Refused, local_run: list[str]) -> None:
    assert "trust_remote_code: Checkpoint has no such setting" in refused(*local_run, setting)


# --- data


def test_pickles_beside_data_and_caches_are_not_loaded(
    run: Run, local_run: list[str], traps: Path, model_folder: Path
) -> None:
    """A pickle is code: none of ours or of the libraries' loaders may take one up by its name."""
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {traps / 'ran'}",))

    shutil.copytree(model_folder, traps / "llama")
    bomb = pickle.dumps(Bomb())
    for folder in (traps, traps / "llama", traps / "outputs" / "cache"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.pt", "cache.pkl", "x.npy"):
            (folder / name).write_bytes(bomb)
    assert run(*local_run, "model.checkpoint=llama", "training.save_model=none") == 0
    assert not (traps / "ran").exists()
    status = run(*local_run, f"dataset.train={traps / 'cache.pkl'}", "dataset.format=parquet")
    assert status == 2


# --- secrets

FAKE = {
    "HF_TOKEN": "hf_FAKEfakeFAKEfake1",
    "HUGGING_FACE_HUB_TOKEN": "hf_FAKEfakeFAKEfake2",
    "MLFLOW_TRACKING_USERNAME": "somebody",
    "MLFLOW_TRACKING_PASSWORD": "FAKEpassword3",
    "MLFLOW_TRACKING_TOKEN": "FAKEtoken4444",
    "AWS_SECRET_ACCESS_KEY": "FAKEsecret5555",
    "WANDB_API_KEY": "FAKEkey666666",
    "HF_ENDPOINT": "http://me:FAKEpassword7@127.0.0.1:9",
}
TRACES = [value.encode() for key, value in FAKE.items() if key not in ("HF_ENDPOINT", "MLFLOW_TRACKING_USERNAME")]
TRACES.append(b"FAKEpassword7")


def refuse_traces(words: str, folder: Path) -> None:
    """Neither what was said nor any file has a secret in it."""
    found = [line for line in words.splitlines() if any(trace in line.encode() for trace in TRACES)]
    assert not found
    for path in folder.rglob("*"):
        assert not any(trace.decode() in path.name for trace in TRACES), path
        assert not path.is_file() or not any(trace in path.read_bytes() for trace in TRACES), path


def test_secrets_get_nowhere(command: Command, tmp_path: Path, local_run: list[str]) -> None:
    """Into no file, MLflow record or word of a sweep of which a job ends well and one does not."""
    rates = "training.learning_rate=1e-3,1e30"
    more = ["-m", rates, "sweep.isolate=true", "training.save_model=none", "hydra.sweep.dir=outputs/sweep"]
    done = command(*local_run, *more, **FAKE)
    assert len(list(tmp_path.glob("outputs/sweep/*/result.json"))) >= 1, done.stderr
    refuse_traces(done.stdout + done.stderr, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        ["tracker.uri=http://me:FAKEpassword3@127.0.0.1:9"],
        ["tracker.uri=http://FAKEtoken4444@127.0.0.1:9"],
        ["tracker.uri=http://127.0.0.1:9/?token=FAKEtoken4444"],
        ["tracker.uri=postgresql://me:FAKEpassword3@127.0.0.1/x"],
        ["tracker.experiment=${oc.env:HF_TOKEN}"],
        ["+unknown=hf_FAKEfakeFAKEfake1"],
        ["dataset.train=hf_FAKEfakeFAKEfake1.csv"],
        ["hydra.job.name=hf_FAKEfakeFAKEfake1"],
        ["model=llama3_2_1b"],
        ["dataset=imdb"],
    ],
)
def test_secrets_are_not_said(
    settings: list[str], run: Run, capsys: Said, monkeypatch: pytest.MonkeyPatch, local_run: list[str], tmp_path: Path
) -> None:
    for name, value in FAKE.items():
        monkeypatch.setenv(name, value)
    known = [word for word in local_run if not any(word.startswith(s.partition("=")[0]) for s in settings)]
    assert run(*known, *settings) == 2
    told = capsys.readouterr()
    refuse_traces(told.out + told.err, tmp_path)


def test_a_server_that_is_away_is_told_without_secrets(
    run: Run, capsys: Said, monkeypatch: pytest.MonkeyPatch, local_run: list[str], tmp_path: Path
) -> None:
    for name, value in FAKE.items():
        monkeypatch.setenv(name, value)
    assert run(*local_run, "tracker.uri=http://127.0.0.1:9", "training.save_model=none") == 0
    told = capsys.readouterr()
    assert "does not answer" in told.out + told.err
    refuse_traces(told.out + told.err, tmp_path)
