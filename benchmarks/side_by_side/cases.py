"""The cases: what is trained, on which rows, and what ours must reach."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)  # of a sweep
USUAL_RATE = 3  # which of them a rival's run is measured at
BF16_FROM = 288  # hidden size from which bf16 autocast is faster on a CPU that has it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One training as a rival's process is told it: files and figures, nothing of this machine's code."""

    task: str  # sentiment, question_answering, text_generation
    technique: str  # full, freeze, lora, few_shot
    model: str  # a folder in Hugging Face format
    train: str  # JSON Lines
    validation: str
    max_length: int
    epochs: int
    learning_rate: float
    bf16: bool  # for those who choose their precision
    layers: int = 0  # that move, with technique freeze
    gradient_checkpointing: bool = False
    batch_size: int = 8
    micro_batch_size: int | None = None  # rows of a pass; None: all of a step
    weight_decay: float = 0.01
    seed: int = 0
    folder: str = ""  # what a rival saves goes here

    def save(self, file: Path) -> None:
        """As JSON, for another process."""
        file.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def read_work(file: str) -> Work:
    """What `Work.save` wrote."""
    return Work(**json.loads(Path(file).read_text(encoding="utf-8")))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table.

    `targets`: (side, what) -> how many times ours the side's must be, in training, process (seconds) or memory.
    """

    name: str
    about: str
    model: str  # a name in models.SHAPES
    data: str  # sst2, books, squad, wikitext
    rows: tuple[int, int]  # training, evaluation
    length: int
    epochs: int
    technique: str = "full"
    layers: int = 0
    rate: float = 1e-3
    runs: int = 1  # learning rates: ours is one sweep, a rival one of as many equal processes
    sides: tuple[str, ...] = ("ours", "tutorial", "best", "bare")
    targets: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    quick: bool = False  # one of `--quick`

    @property
    def task(self) -> str:
        """Our name of the task."""
        return {"squad": "question_answering", "wikitext": "text_generation"}.get(self.data, "sentiment")

    def of(self, share: float) -> Case:
        """The same on a share of the rows."""
        training, evaluation = self.rows
        shots = self.technique == "few_shot"  # which need theirs
        return dataclasses.replace(
            self, rows=(training if shots else int(training * share), max(8, int(evaluation * share)))
        )

    def work(self, **files: Any) -> Work:
        """What a rival is told."""
        return Work(
            task=self.task,
            technique=self.technique,
            layers=self.layers,
            max_length=self.length,
            epochs=self.epochs,
            learning_rate=RATES[USUAL_RATE] if self.runs > 1 else self.rate,
            **files,
        )


TUTORIAL, BEST, TRL, PEFT, LOOP = "tutorial", "best", "trl", "peft", "loop"

FULL_CASES = [
    Case(
        name="sentiment",
        about="full, stories260K, SST-2",
        model="260K",
        data="sst2",
        rows=(2000, 800),
        length=128,
        epochs=3,
        targets={
            (TUTORIAL, "training"): 2.5,
            (BEST, "training"): 2.4,
            (BEST, "process"): 2.2,
            ("bare", "training"): 0.9,
        },
    ),
    Case(
        name="books",
        about="full, 6M shape, book reviews",
        model="6M",
        data="books",
        rows=(192, 96),
        length=512,
        epochs=1,
        rate=3e-4,
        targets={(TUTORIAL, "training"): 3.0, (BEST, "training"): 1.4},
    ),
    Case(
        name="squad",
        about="full, stories260K, question answering",
        model="260K",
        data="squad",
        rows=(600, 200),
        length=512,
        epochs=3,
        targets={(TUTORIAL, "training"): 2.2, (BEST, "training"): 1.4},
    ),
    Case(
        name="wikitext",
        about="full, stories260K, text generation",
        model="260K",
        data="wikitext",
        rows=(600, 200),
        length=256,
        epochs=3,
        sides=("ours", TUTORIAL, BEST, TRL, "bare"),
        targets={(TUTORIAL, "training"): 4.0, (BEST, "training"): 1.6, (TRL, "training"): 1.5},
    ),
    Case(
        name="freeze",
        about="head only, 6M shape, book reviews",
        model="6M",
        data="books",
        rows=(192, 96),
        length=512,
        epochs=3,
        technique="freeze",
        targets={
            (TUTORIAL, "training"): 8.0,
            (TUTORIAL, "process"): 5.0,
            (BEST, "training"): 4.0,
            (BEST, "process"): 3.0,
        },
    ),
    Case(
        name="freeze_last",
        about="last 2 layers of 6, 6M shape, book reviews",
        model="6M",
        data="books",
        rows=(192, 96),
        length=512,
        epochs=3,
        technique="freeze",
        layers=2,
        targets={(TUTORIAL, "training"): 3.0, (BEST, "training"): 1.8},
    ),
    Case(
        name="freeze_sweep",
        about="8 learning rates, head only, 6M shape, book reviews",
        model="6M",
        data="books",
        rows=(1700, 300),
        length=512,
        epochs=3,
        technique="freeze",
        runs=len(RATES),
        sides=("ours", TUTORIAL, BEST),
        targets={(TUTORIAL, "process"): 50.0, (BEST, "process"): 25.0},
    ),
    Case(
        name="lora_sweep",
        about="8 learning rates, LoRA on q and v, 6M shape, book reviews",
        model="6M",
        data="books",
        rows=(192, 96),
        length=512,
        epochs=1,
        technique="lora",
        runs=len(RATES),
        sides=("ours", PEFT),
        targets={(PEFT, "process"): 2.0},
    ),
    Case(
        name="few_shot",
        about="4 shots, stories260K, SST-2",
        model="260K",
        data="sst2",
        rows=(4, 800),
        length=128,
        epochs=0,
        technique="few_shot",
        sides=("ours", LOOP),
        targets={(LOOP, "training"): 4.5},
    ),
    Case(
        name="books_15m",
        about="full, 15M shape with 32,000 pieces, book reviews",
        model="15M",
        data="books",
        rows=(192, 96),
        length=512,
        epochs=1,
        rate=3e-4,
        sides=("ours", BEST, "bare"),
        targets={("bare", "training"): 0.97},
    ),
    Case(
        name="wikitext_15m",
        about="full, 15M shape with 32,000 pieces, text generation",
        model="15M",
        data="wikitext",
        rows=(96, 32),
        length=512,
        epochs=1,
        rate=3e-4,
        sides=("ours", TUTORIAL, BEST, "bare"),
        targets={(BEST, "memory"): 1.67},
    ),
    Case(
        name="wikitext_110m",
        about="full, 110M shape, text generation",
        model="110M",
        data="wikitext",
        rows=(48, 16),
        length=256,
        epochs=1,
        rate=1e-4,
        sides=("ours", BEST, TRL, "bare"),
    ),
]


def _small(name: str, rows: tuple[int, int], epochs: int, **changes: Any) -> Case:
    """A case cut down to seconds: it shows that all works, and little of what is gained."""
    (case,) = (case for case in FULL_CASES if case.name == name)
    small = {"name": f"quick_{name}", "rows": rows, "epochs": epochs, "targets": {}, "quick": True, **changes}
    return dataclasses.replace(case, **small)


CASES = {
    case.name: case
    for case in [
        *FULL_CASES,
        _small("sentiment", (240, 80), 2),
        _small("wikitext", (80, 40), 1),
        _small("freeze", (48, 24), 2, sides=("ours", BEST), length=256),
        _small("few_shot", (4, 60), 0),
    ]
}
