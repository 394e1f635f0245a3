"""A command line composed before Hydra: where settings come from, what Hydra is given, the values of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_experiments.command_line.composition import compose_command, other_values
from llama_experiments.command_line.overrides import parse
from llama_experiments.errors import ConfigError


def test_where_a_setting_was_set() -> None:
    composition = compose_command(["training.epochs=2", "experiment=pretrain_embedded", "tracker=mlflow"])
    assert composition.origin("training.epochs") == "set on the command line"
    assert composition.origin("training.batch_size") == "conf/experiment/pretrain_embedded.yaml"
    assert composition.origin("training.layout") == "conf/training/default.yaml"
    assert composition.origin("tracker.uri") == "conf/tracker/mlflow.yaml"
    assert composition.origin("tracker") == "set on the command line"
    assert composition.origin("seed") == "conf/config.yaml"


def test_hydra_is_given_every_field_as_one_it_knows() -> None:
    given = [
        "training.epochs=2",
        "model.dtype=fp32",
        "+model.attention=eager",
        "technique=full",
        "hydra.verbose=true",
    ]
    expected = ["training.epochs=2", "++model.dtype=fp32", *given[2:]]
    assert compose_command(given).for_hydra() == expected


def test_each_value_of_a_sweep_is_composed_once() -> None:
    first = compose_command(
        ["model.learning_rate=1e-3,1e-4", "seed=range(0,3)", "model=embedded,local", "task=sentiment"]
    )
    found = [
        (job.tree["training"]["learning_rate"], job.tree["seed"], job.choices["model"])
        for job in [first, *other_values(first)]
    ]
    assert found == [
        (1e-3, 0, "embedded"),
        (1e-4, 0, "embedded"),  # the rate of training follows the model's
        (1e-3, 1, "embedded"),
        (1e-3, 2, "embedded"),
        (1e-3, 0, "local"),
    ]


def test_a_users_folder_adds_choices_and_hides_none_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine, (really)"
    for name in ("mine", "mlflow"):
        (folder / "tracker").mkdir(parents=True, exist_ok=True)
        text = f"_target_: llama_experiments.runs.mirror.Tracker\nexperiment: {name}_of_user\n"
        (folder / "tracker" / f"{name}.yaml").write_text(text)
    assert compose_command(["tracker=mine"], [folder]).tree["tracker"]["experiment"] == "mine_of_user"
    assert compose_command(["tracker=mlflow"], [folder]).tree["tracker"]["experiment"] == "llama_experiments"


def test_what_is_no_override_is_told_for_each() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(["seed", "a=[", "seed=range(0,0)", "seed=1"])
    assert len(caught.value.mistakes) == 3


def test_a_groups_choice_may_be_written_with_a_plus() -> None:
    plain, plus = (compose_command([f"{sign}experiment=stories", f"{sign}stand_in=embedded"]) for sign in ("", "+"))
    assert plus.tree == plain.tree
    assert plus.choices["stand_in"] == "embedded"
    assert plus.for_hydra() == plain.for_hydra() == ["experiment=stories", "stand_in=embedded"]


def test_null_takes_an_optional_group_away() -> None:
    """Hydra's own way is ~tuning, which nobody guesses."""
    ladder = compose_command(["experiment=ladder", "tuning=null"])
    assert ladder.tree.get("tuning") is None
    assert compose_command(["experiment=ladder"]).tree["tuning"] is not None
    assert compose_command(["experiment=null", "stand_in=null"]).tree == compose_command([]).tree
    with pytest.raises(ConfigError, match="null is no choice"):
        compose_command(["technique=null"])
