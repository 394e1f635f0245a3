"""MLflow mirrors the journal: what a run looks like there, and that mirroring again changes nothing."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from llama_experiments.config import leaves
from llama_experiments.errors import SettingError
from llama_experiments.runs.environment import git_state
from llama_experiments.runs.follower import Follower
from llama_experiments.runs.journal import read_journal
from llama_experiments.runs.mirror import Mirror
from llama_experiments.runs.mirrored import Mirrored
from llama_experiments.runs.tracker import Tracker, without_password
from tests.conftest import ROOT
from tests.runs.conftest import Finished
from tests.runs.folders import append, epoch_record, made_folder, step_record


@pytest.fixture
def follower(store: str, tmp_path: Path) -> Follower:
    """Of a run without records, which is open."""
    made = Follower(made_folder(tmp_path / "run"), store, Mirrored("uid", store, "llama_experiments", every_steps=2))
    made.open()
    return made


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store)


def points(client: MlflowClient, run_id: str | None, metric: str) -> list[tuple[int, float, int]]:
    """A metric's history: step, value, time."""
    assert run_id is not None
    return sorted((point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, metric))


@pytest.fixture(scope="module")
def mirrored(finished: Finished) -> tuple[MlflowClient, Run]:
    """The finished run as MLflow has it: the only one."""
    client = MlflowClient(tracking_uri=finished.uri)
    experiment = client.get_experiment_by_name("llama_experiments")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def test_a_run_is_told_by_its_parameters(mirrored: tuple[MlflowClient, Run], finished: Finished) -> None:
    _, run = mirrored
    config = yaml.safe_load((finished.folder.hydra / "config.yaml").read_text())
    config["training"]["learning_rate"] = config["model"]["learning_rate"]  # interpolations are resolved
    assert run.data.params == {key: str(value) for key, value in leaves(config).items()}
    assert run.data.params["training.learning_rate"] == "0.003"
    assert run.data.params["tracker.every_steps"] == "4"


def test_losses_and_metrics_have_the_epoch_as_their_step(
    mirrored: tuple[MlflowClient, Run], finished: Finished
) -> None:
    client, run = mirrored
    epochs = finished.epochs

    def journal(value: Any) -> list[tuple[int, float, int]]:
        return [(epoch["epoch"], value(epoch), epoch["time"]) for epoch in epochs if value(epoch) is not None]

    expected = {
        "train_loss": journal(lambda epoch: epoch["train_loss"]),
        "eval_loss": journal(lambda epoch: epoch["eval_loss"]),
        "accuracy": journal(lambda epoch: epoch["metrics"]["accuracy"]),
    }
    assert [step for step, _, _ in expected["eval_loss"]] == [0, 1, 2]
    assert [step for step, _, _ in expected["train_loss"]] == [1, 2]
    assert {name: points(client, run.info.run_id, name) for name in expected} == expected


def test_every_few_steps_have_a_point(mirrored: tuple[MlflowClient, Run], finished: Finished) -> None:
    client, run = mirrored
    steps = [step for step in read_journal(finished.folder.steps) if step["step"] % 4 == 0]
    assert [step["step"] for step in steps] == [4, 8, 12]
    for name, values in {
        "train_step_loss": [step["loss_sum"] / step["count"] for step in steps],
        "train_step_learning_rate": [step["learning_rate"] for step in steps],
        "train_step_gradient_norm": [step["gradient_norm"] for step in steps],
    }.items():
        told = [(step["step"], value, step["time"]) for step, value in zip(steps, values, strict=True)]
        assert points(client, run.info.run_id, name) == told


def test_the_tags_lead_to_the_run(mirrored: tuple[MlflowClient, Run], finished: Finished, model_folder: Path) -> None:
    _, run = mirrored
    git = git_state(ROOT)
    expected = {
        "task": "sentiment",
        "technique": "full",
        "dataset": "local_sentiment",
        "model": str(model_folder),
        "run_folder": str(finished.folder.path),
        **({"git_commit": git["commit"] + ("+changes" if git["changed"] else "")} if git else {}),
    }
    told = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert told.pop("run_uid") == json.loads((finished.folder.path / "tracker.json").read_text())["run_uid"]
    assert told == expected
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert "mlflow.parentRunId" not in run.data.tags
    inputs = {dataset.tags[0].value: dataset.dataset for dataset in run.inputs.dataset_inputs}
    assert {part: dataset.name for part, dataset in inputs.items()} == {
        "train": "train.csv",
        "validation": "validation.csv",
    }
    assert inputs["train"].digest != inputs["validation"].digest


def test_artifacts_are_everything_but_weights(mirrored: tuple[MlflowClient, Run], finished: Finished) -> None:
    client, run = mirrored
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    pictures = {"curves.png", "confusion.png", "lengths.png"}
    records = {"hygiene.json", "epochs.jsonl", "steps.jsonl", "run.json"}
    records |= {"environment.json", "result.json", "movement.json"}
    assert names == {"hydra", "report.md"} | records | pictures
    config = {file.path for file in client.list_artifacts(run.info.run_id, "hydra")}
    assert config == {"hydra/config.yaml", "hydra/overrides.yaml", "hydra/hydra.yaml"}
    kept = finished.home / "outputs" / "mlflow-artifacts" / run.info.run_id / "artifacts"
    for name in names - {"hydra"}:
        assert (kept / name).read_bytes() == (finished.folder.path / name).read_bytes()
    weights = (finished.folder.model / "model.safetensors").stat().st_size
    copied = [path for path in (finished.home / "outputs" / "mlflow-artifacts").rglob("*") if path.is_file()]
    assert not [path for path in copied if path.suffix == ".safetensors" or path.stat().st_size == weights]


def test_mirroring_again_adds_no_point(follower: Follower, store: str, client: MlflowClient) -> None:
    append(follower.folder.steps, [step_record(number) for number in (1, 2, 3, 4)])
    append(follower.folder.epochs, [epoch_record(0, None, 0.7, {"accuracy": 0.5})])
    follower.catch_up()
    append(follower.folder.epochs, [epoch_record(1, 0.6, 0.5, {"accuracy": 0.75})])
    names = ["train_loss", "eval_loss", "accuracy", "train_tokens_per_second", "train_step_loss"]
    follower.catch_up()
    run_id = follower.mirrored.run_id
    seen = [{name: points(client, run_id, name) for name in names}]
    again = Follower(follower.folder, store, follower.mirrored)  # as of a run that is resumed
    again.open()
    again.catch_up()
    assert (again.mirrored.run_id, again.sent) == (run_id, {})
    # What is done again after a kill has another time: it is the same point nevertheless.
    follower.folder.epochs.write_text("")
    append(follower.folder.epochs, [epoch_record(1, 0.6, 0.5, {"accuracy": 0.75}, time=1_800_000_000_000)])
    third = Follower(follower.folder, store, follower.mirrored)
    third.open()
    third.catch_up()
    seen.append({name: points(client, run_id, name) for name in names})
    assert seen[0] == seen[1]
    assert {name: len(found) for name, found in seen[0].items()} == {
        "train_loss": 1, "eval_loss": 2, "accuracy": 2, "train_tokens_per_second": 1, "train_step_loss": 2,
    }  # fmt: skip


def test_a_record_that_is_not_whole_yet_waits(follower: Follower, client: MlflowClient) -> None:
    line = json.dumps(epoch_record(0, None, 0.7))
    follower.folder.epochs.write_text(line[:20])
    follower.catch_up()
    assert points(client, follower.mirrored.run_id, "eval_loss") == []
    follower.folder.epochs.write_text(line + "\n")
    follower.catch_up()
    assert points(client, follower.mirrored.run_id, "eval_loss") == [(0, 0.7, 1_700_000_000_000)]


def test_the_speed_is_of_training_alone(follower: Follower, client: MlflowClient) -> None:
    """An epoch's own seconds have its evaluation in them."""
    for epoch, seconds in ((1, 0.5), (2, 0.25)):
        for number in (1, 2):
            append(follower.folder.steps, [step_record(2 * epoch + number, epoch=epoch, seconds=seconds)])
        append(follower.folder.epochs, [epoch_record(epoch, 0.6, 0.5, seconds=1000.0)])
    follower.catch_up()
    speeds = [(step, value) for step, value, _ in points(client, follower.mirrored.run_id, "train_tokens_per_second")]
    assert speeds == [(1, 200.0), (2, 400.0)]


def test_numbers_that_are_none_are_no_failure(follower: Follower, client: MlflowClient) -> None:
    append(follower.folder.epochs, [epoch_record(1, "inf", None, {"perplexity": "nan"})])
    follower.catch_up()
    run_id = follower.mirrored.run_id
    assert math.isnan(points(client, run_id, "perplexity")[0][1])
    assert points(client, run_id, "train_loss")[0][1] > 1e308
    assert points(client, run_id, "eval_loss") == []


def test_more_than_mlflow_takes_at_once(
    store: str, tmp_path: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")  # as of a server that refuses what is too long
    parameters = {f"setting{number}": "x" * (7_000 if number == 0 else 1) for number in range(205)}
    steps = [step_record(number) for number in range(1, 401)]
    folder = made_folder(tmp_path / "run", [epoch_record(1, 0.6, 0.5)], steps, parameters)
    follower = Follower(folder, store, Mirrored("uid", store, "llama_experiments", every_steps=1))
    follower.open()
    follower.catch_up()
    run_id = str(follower.mirrored.run_id)
    kept = client.get_run(run_id).data.params
    assert kept == {name: value[:6_000] for name, value in parameters.items()}
    for name in ("loss", "learning_rate", "gradient_norm"):
        assert [step for step, _, _ in points(client, run_id, f"train_step_{name}")] == list(range(1, 401))
    assert len(points(client, run_id, "eval_loss")) == 1


def test_an_id_left_in_the_environment_is_not_taken(
    store: str, tmp_path: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow lets it beat the ids it is given."""
    left = "0123456789abcdef0123456789abcdef"
    monkeypatch.setenv("MLFLOW_RUN_ID", left)
    mirror = Mirror(Tracker(), tmp_path, lambda sentence: pytest.fail(sentence))
    mirror.start(made_folder(tmp_path / "run", [epoch_record(0, None, 0.7)]))
    mirror.finish("FINISHED")
    assert mirror.run_id not in (None, left)
    assert "MLFLOW_RUN_ID" not in os.environ
    assert client.get_run(str(mirror.run_id)).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("tracker", "output_dir", "shown"),
    [
        (Tracker(), "outputs", "python -m llama_experiments ui"),
        (Tracker(), "my runs", "python -m llama_experiments ui 'output_dir=my runs'"),
        (Tracker(experiment="mine"), "outputs", "python -m llama_experiments ui tracker.experiment=mine"),
        (Tracker(uri="sqlite:///a.db"), "x", "python -m llama_experiments ui tracker.uri=sqlite:///a.db"),
        (Tracker(uri="https://server:5000/x"), "outputs", "https://server:5000/x"),
    ],
)
def test_how_the_runs_are_opened(tracker: Tracker, output_dir: str, shown: str) -> None:
    assert Mirror(tracker, Path(output_dir), lambda _: None).opened_by == shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://server:5000/path", "http://server:5000/path"),
        ("http://me:secret@server:5000/path?x=1", "http://server:5000/path?x=1"),
        ("http://me@server", "http://server"),
        ("postgresql://me:secret@server/db", "postgresql://server/db"),
        ("postgresql://server/db?user=me&password=secret", "postgresql://server/db?user=me"),
        ("sqlite:////folder/mlflow.db", "sqlite:////folder/mlflow.db"),
    ],
)
def test_a_uri_without_its_password(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"every_steps": 0}, "every_steps must be at least 1"),
        ({"experiment": " "}, "experiment must be a name"),
        ({"uri": "http://me:pass1word@server"}, "uri must not hold a password"),
        ({"uri": "postgresql://server/db?user=me&password=pass1word"}, "uri must not hold a password"),
        ({"uri": "http://server:port"}, "uri must be an address"),
        ({"patience": -1}, "patience must be from 0 to 3600 seconds"),
    ],
)
def test_a_trackers_rules(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words) as refused:
        Tracker(**settings)
    assert "pass1word" not in str(refused.value)


def test_the_store_is_in_the_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Tracker().resolved_uri(Path("outputs")) == f"sqlite:///{tmp_path}/outputs/mlflow.db"
    assert Tracker(uri="http://server").resolved_uri(Path("outputs")) == "http://server"


def test_any_name_of_a_class_makes_a_metric(follower: Follower, client: MlflowClient) -> None:
    names = ["don't know", "a/b", "c@d (e)", "größer: 5 %", "x" * 300]
    metrics = {f"precision_{name}": number / 8 for number, name in enumerate(names)}
    append(follower.folder.epochs, [epoch_record(1, 0.5, 0.5, metrics)])
    follower.catch_up()
    found = client.get_run(follower.mirrored.run_id or "").data.metrics
    known = ["don_t know", "a_b", "c_d _e_", "größer: 5 _", "x" * 240]
    assert [found[f"precision_{name}"] for name in known] == [number / 8 for number in range(5)]
