"""Two processes on CPUs give the numbers of one, and leave what one leaves."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from tests.training.launched import ALONE, IN_TWO, SENTIMENT, TEXT_GENERATION, Commands, Done, assert_same_numbers


@pytest.fixture(scope="module")
def in_two(commands: Commands) -> Done:
    return commands.run(IN_TWO, "in_two", *SENTIMENT)


def test_two_processes_give_the_numbers_of_one(alone: Done, in_two: Done) -> None:
    assert [record["count"] for record in alone.steps].count(1) == 2  # an epoch's step of one example
    assert_same_numbers(alone, in_two)


def test_uneven_tokens_and_windows_give_the_numbers_of_one(commands: Commands) -> None:
    """Half of a step's examples is not half of its tokens: a mean of the processes' means would show."""
    one = commands.run(ALONE, "alone_text", *TEXT_GENERATION)
    two = commands.run(IN_TWO, "in_two_text", *TEXT_GENERATION)
    assert len({record["count"] for record in one.steps}) > 3
    assert_same_numbers(one, two)


def test_every_row_is_predicted_once(alone: Done, in_two: Done) -> None:
    ours, theirs = (pq.read_table(done.run.predictions).to_pydict() for done in (alone, in_two))
    assert theirs["row"] == ours["row"] == list(range(1, 26))
    assert theirs["prediction"] == ours["prediction"]
    assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-5)


def test_one_process_writes_and_speaks(alone: Done, in_two: Done) -> None:
    assert ", 2 processes" in in_two.output
    assert in_two.output.count("Epoch 2/2") == alone.output.count("Epoch 2/2") == 1
    assert len(in_two.output.splitlines()) == len(alone.output.splitlines())
    files = [
        sorted(str(path.relative_to(done.run.path)) for path in done.run.path.rglob("*")) for done in (alone, in_two)
    ]
    assert files[0] == files[1]
    days = [path for path in in_two.outputs.iterdir() if path.name[:2] == "20"]
    assert [path for day in days for path in day.iterdir()] == [in_two.run.path]


def test_the_tracker_has_one_run(in_two: Done) -> None:
    from llama_experiments.runs.tracker import connect

    client = connect(f"sqlite:///{in_two.outputs / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    losses = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "eval_loss")}
    assert losses == {record["epoch"]: record["eval_loss"] for record in in_two.epochs}


def test_the_same_command_again_gives_the_same_bits(commands: Commands, alone: Done) -> None:
    """In a process of its own, where nothing is left over from the first."""
    again = commands.run(ALONE, "again", *SENTIMENT)
    own = {"time", "seconds"}
    for kind in ("steps", "epochs"):
        ours, theirs = (
            [{key: value for key, value in record.items() if key not in own} for record in getattr(done, kind)]
            for done in (alone, again)
        )
        assert ours == theirs
    files = [(done.run.model / "model.safetensors").read_bytes() for done in (alone, again)]
    assert files[0] == files[1]


def test_a_frozen_trunk_is_shared_by_the_processes_and_its_cache_changes_no_bit(commands: Commands) -> None:
    freeze = [*SENTIMENT, "technique=freeze", "training.evaluation_batch_size=5"]
    one = commands.run(ALONE, "alone_frozen", *freeze)
    two = commands.run(IN_TWO, "in_two_frozen", *freeze)
    assert_same_numbers(one, two)
    ours, theirs = (
        {file.name: file.read_bytes() for file in (done.outputs / "cache" / "trunk").iterdir()} for done in (one, two)
    )
    assert len(ours) == 2
    assert ours == theirs  # to the bit, whichever process made which batch
    off = commands.run(IN_TWO, "in_two_off", *freeze, "training.trunk_cache=off")
    assert list((off.outputs / "cache" / "trunk").iterdir()) == []
    own = {"time", "seconds"}
    for kind in ("steps", "epochs"):
        kept, made = (
            [{key: value for key, value in record.items() if key not in own} for record in getattr(done, kind)]
            for done in (two, off)
        )
        assert kept == made
    files = [(done.run.model / "model.safetensors").read_bytes() for done in (two, off)]
    assert files[0] == files[1]
