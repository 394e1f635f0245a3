"""Before a run: what cannot fit is refused with the numbers and what would help; what may fit is let through."""

from __future__ import annotations

import pytest

from llama_experiments.planning import check, work
from llama_experiments.planning.available import Available
from llama_experiments.planning.check import memory_mistake, upper_bound
from llama_experiments.planning.shape import model_shape
from tests.planning.conftest import Estimate, Made

LARGE = ["model.hidden_size=768", "model.intermediate_size=2048", "model.num_hidden_layers=8"]
LARGE += ["model=embedded_from_scratch", "model.num_attention_heads=12", "model.num_key_value_heads=12"]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> object:
    """So many bytes are there."""

    def say(size: float) -> None:
        monkeypatch.setattr(check, "available_memory", lambda: Available(int(size), "cpu", "of free memory"))

    return say


def test_what_is_far_below_is_let_through_without_a_look(made: Made, there, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    there(20e9)
    monkeypatch.setattr("llama_experiments.planning.memory._estimate", None)  # would be called
    assert memory_mistake(made("technique=full")) is None


def test_weights_that_do_not_fit_are_refused_without_reading_rows(made: Made, there, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    there(0.7e9)
    monkeypatch.setattr(work, "read_work", None)
    mistake = memory_mistake(made(*LARGE))
    assert mistake is not None
    assert "the weights alone do not fit" in mistake.sentence
    assert "700 MB of free memory" in mistake.sentence
    assert "training.check_memory=false" in mistake.sentence
    assert "\n" not in mistake.sentence


def test_the_ways_out_that_are_told_are_enough(made: Made, estimate: Estimate, there) -> None:  # type: ignore[no-untyped-def]
    more = ["training.batch_size=128", "training.evaluation_batch_size=8", "technique=full"]
    needed = estimate(*LARGE, *more, length=53).peak
    there(0.75 * needed)
    mistake = memory_mistake(made(*LARGE, *more))
    assert mistake is not None
    assert "it would fit with training.micro_batch_size=1" in mistake.sentence
    way = mistake.sentence.partition("it would fit with ")[2].partition(" (about")[0].split()
    assert memory_mistake(made(*LARGE, *more, *way)) is None


def test_short_rows_are_let_through_where_the_greatest_length_would_not_fit(
    made: Made, estimate: Estimate, there
) -> None:  # type: ignore[no-untyped-def]
    more = ["training.batch_size=64", "task.max_length=512"]
    longest, real = estimate(*LARGE, *more, length=512).peak, estimate(*LARGE, *more, length=53).peak
    assert real < 0.5 * longest
    there((longest + real) / 2)
    assert memory_mistake(made(*LARGE, *more)) is None


def test_the_setting_turns_it_off(made: Made, there) -> None:  # type: ignore[no-untyped-def]
    there(1e6)
    assert memory_mistake(made("technique=full")) is not None
    assert memory_mistake(made("training.check_memory=false")) is None


def test_jobs_at_once_share_the_memory(made: Made, there) -> None:  # type: ignore[no-untyped-def]
    there(1.5e9)
    assert memory_mistake(made("technique=full")) is None
    mistake = memory_mistake(made("technique=full", "sweep.parallel=4"))
    assert mistake is not None
    assert "for each of 4 jobs at once" in mistake.sentence


@pytest.mark.parametrize("task", ["sentiment", "question_answering", "text_generation", "qa_generative"])
@pytest.mark.parametrize("technique", ["full", "lora", "prompt"])
def test_the_upper_bound_is_one(task: str, technique: str, made: Made, estimate: Estimate) -> None:
    for more in ([], ["model.attention=eager"], [*LARGE, "training.batch_size=64"]):
        chosen = ["model=embedded_from_scratch", f"task={task}", f"technique={technique}", *more]
        experiment = made(*chosen)
        assert estimate(*chosen, length=experiment.task.max_length).peak <= upper_bound(
            model_shape(experiment.model), experiment
        )
