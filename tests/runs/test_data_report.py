"""What people read of the hygiene report: lines of the header, a section of the report, a picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from llama_experiments.data.hygiene import Finding, Hygiene, Lengths, NearDuplicates, Part
from llama_experiments.runs.data_report import data_facts, data_section

NOTHING = Finding(0, [])
LENGTHS = Lengths(1_234, 12.34, 11, 40, 1_300, {"edges": [0, 20, 1301], "rows": [90, 10]}, {})
CLEAN = Part("a.csv", 1_000, {"bad": 995, "good": 5}, {}, {}, NOTHING, NOTHING, lengths=LENGTHS)
CLEAN_EVALUATION = dataclasses.replace(
    CLEAN, source="b.csv", rows=10, classes={"bad": 10, "good": 0}, in_train=NOTHING
)

TRAIN = dataclasses.replace(
    CLEAN,
    left_out={"an empty text": Finding(2, [5, 6])},
    repaired={"moved": Finding(1, [9])},
    repeated=Finding(12, [4]),
    contradictory=Finding(4, [7]),
    lengths=dataclasses.replace(LENGTHS, findings={"cut off": Finding(100, [1])}),
)
EVALUATION = dataclasses.replace(
    CLEAN_EVALUATION,
    in_train=Finding(3, [1, 2, 3]),
    near_duplicates=NearDuplicates(
        1, {"train": [980, 988], "validation": [7, 7]}, [{"validation": 8, "train": 77, "similarity": 0.875}]
    ),
)


def report(train: Part, evaluation: Part, **dropped: int) -> Hygiene:
    return Hygiene({"train": train, "validation": evaluation}, "report", 256, dropped)


def test_the_header_of_good_rows() -> None:
    assert data_facts(report(CLEAN, CLEAN_EVALUATION)) == {
        "classes": "training bad 995 (99.5%), good 5 (0.5%); evaluation bad 10 (100%), good 0",
        "lengths": "training median 11 tokens, 95% up to 40, longest 1,300; "
        "evaluation median 11 tokens, 95% up to 40, longest 1,300",
        "rows": "none repeated, contradictory or on both sides",
    }


def test_the_header_tells_what_is_wrong() -> None:
    facts = data_facts(report(TRAIN, EVALUATION, contradictory=4, repeated=12))
    assert "longest 1,300, 100 (10.0%) cut off; evaluation" in facts["lengths"]
    assert facts["rows"] == (
        "training 2 left out (an empty text), 1 moved, 12 repeated, 4 contradictory; "
        "evaluation 3 also in training, 1 nearly in training"
    )
    assert facts["dropped"] == "16 of 1,000 training rows: 4 contradictory, 12 repeated"


def test_many_classes_are_told_by_the_rarest_and_the_commonest() -> None:
    sizes = {f"class {number}": number for number in range(1, 45)}
    part = dataclasses.replace(CLEAN, classes=sizes)
    told = data_facts(report(part, part))["classes"]
    assert told.startswith("training 44, from class 1 1 (0.1%) to class 44 44 (4.4%); evaluation")


def test_no_classes_and_no_lengths() -> None:
    part = dataclasses.replace(CLEAN, classes={}, lengths=None)
    assert [*data_facts(report(part, part))] == ["rows"]


def rows(lines: list[str]) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: others for name, *others in cells}


def test_the_section() -> None:
    lines = data_section(report(TRAIN, EVALUATION, repeated=12))
    table = rows(lines)
    assert table[""] == ["training", "evaluation"]
    assert table["source"] == ["a.csv", "b.csv"]
    assert table["rows"] == ["1,000", "10"]
    assert table["of class bad"] == ["995 (99.5%)", "10 (100%)"]
    assert table["left out: an empty text"] == ["2", "0"]
    assert table["moved"] == ["1 (0.1%)", "0"]
    assert table["repeated"] == ["12 (1.2%)", "0"]
    assert table["contradictory: the same text has another label"] == ["4 (0.4%)", "0"]
    assert table["also in training"] == ["", "3 (30.0%)"]
    assert table["nearly in training"] == ["", "1 (10.0%)"]
    assert table["median, 95%, longest"] == ["11, 40, 1,300", "11, 40, 1,300"]
    assert table["cut off"] == ["100 (10.0%)", "0"]
    assert table["8"] == ["77", "0.88"]
    assert "on a context that training has, too" not in table
    told = "\n".join(lines)
    assert "(all 7 with 980 of 988 distinct texts compared" in told
    assert "Dropped before training: 12 of 1,000 training rows: 12 repeated." in told


def test_contexts_on_both_sides() -> None:
    evaluation = dataclasses.replace(CLEAN_EVALUATION, passages_in_train=Finding(4, [1]))
    table = rows(data_section(report(dataclasses.replace(CLEAN, classes={}), evaluation)))
    assert table["on a context that training has, too"] == ["", "4 (40.0%)"]


@pytest.mark.parametrize("longest", [39, 1_300])
def test_the_picture_of_the_lengths(longest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bars are shares of each part's rows; the last one is as wide as the others, whatever it holds."""
    from matplotlib.figure import Figure

    from llama_experiments.runs.plots import plot_lengths

    drawn: list[Figure] = []
    monkeypatch.setattr("llama_experiments.runs.plots.save", lambda figure, _: drawn.append(figure))
    edges = [0, 20, longest + 1]
    train = dataclasses.replace(LENGTHS, longest=longest, histogram={"edges": edges, "rows": [90, 10]})
    validation = dataclasses.replace(LENGTHS, longest=30, histogram={"edges": edges, "rows": [1, 3]})
    plot_lengths({"train": train, "validation": validation}, 25, tmp_path / "lengths.png")
    (axes,) = drawn[0].axes
    values = [patch.get_data().values.tolist() for patch in axes.patches]  # type: ignore[attr-defined]
    assert values[::2] == [[0.9, 0.1], [0.25, 0.75]]
    assert all(patch.get_data().edges.tolist() == [0, 20, 40] for patch in axes.patches)  # type: ignore[attr-defined]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == [f"training (median 11, longest {longest:,})", "evaluation (median 11, longest 30)"]
    assert ("and more" in axes.get_xlabel()) == (longest > 40)
    assert [text.get_text() for text in axes.texts] == ["max_length 25"]
