"""What people get wrong about techniques: a sentence, exit status 2, and nothing left behind."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import COMMAND_LINE, Refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # Seen before anything is loaded.
        (["technique.shots=-1"], ["technique.shots: must be 0 or a positive number, not -1", COMMAND_LINE]),
        (["technique.shots=many"], ["technique.shots: must be a whole number", COMMAND_LINE]),
        (["technique.shot=1"], ["technique.shot", "did you mean 'shots'?"]),
        (["technique.context=65"], ["technique.context: 65 tokens are more than the model's 64 pos", COMMAND_LINE]),
        (["task.template=Text:"], ["task.template: must have the place {text}, no others", COMMAND_LINE]),
        (["task.label_words={positive: ''}"], ["task.label_words: must not be empty", COMMAND_LINE]),
        # Seen in the rows, or by the tokenizer.
        (["technique.shots=49"], ["technique.shots: 49 examples are 25 of the class", "which has 24 training rows"]),
        (["task.label_words={positive: good}"], ["task.label_words: there is no word for the class 'negative'"]),
        (
            ["task.label_words={positive: good, negative: bad, negatve: so}"],
            ["task.label_words.negatve: there is no such class", "did you mean 'negative'?"],
        ),
        (
            ["task.label_words={positive: good, negative: good enough}"],
            ["task.label_words: 'good' and 'good enough' cannot be told apart"],
        ),
        (["task.template='{text} so it was clumsy and lovely'", "technique.context=12", "task.max_length=12"],
         ["task.template: without a text it is longer, with the longest label word, than the 12 tokens"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_prompt(
    arguments: list[str], words: list[str], refused: Refused, local_run: list[str]
) -> None:
    said = refused(*local_run, "technique=prompt", *arguments)
    for word in words:
        assert word in said


def test_a_task_without_classes_is_not_calibrated(refused: Refused) -> None:
    said = refused(
        "task=text_generation", "technique=prompt", "technique.calibrate=true", "dataset.train_examples=20"
    )
    assert said.startswith("technique.calibrate: this task has no classes")
