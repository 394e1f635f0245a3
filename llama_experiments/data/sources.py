"""Where rows come from: the Hugging Face Hub, or files in the formats people have."""

from __future__ import annotations

import dataclasses
import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from llama_experiments.errors import UserError, check_settings
from llama_experiments.paths import resolve

if TYPE_CHECKING:
    from datasets import Dataset as Table

LISTED = 4  # files of a part told by name
PARTS = ("train", "validation")  # of every run; there may be a test part beside them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of a training and a validation part, perhaps of a test part, and which of their columns are the task's."""

    needs_hub: ClassVar[bool] = False

    train: str | list[str]
    validation: str | list[str] | None = None  # null: a part of the training rows is held out
    test: str | list[str] | None = None  # looked at once, when all is done: nothing is chosen on it
    validation_share: float = 0.1  # of the rows (of the contexts' rows) that are held out
    columns: dict[str, str] = dataclasses.field(default_factory=dict)  # the task's column -> the data's
    labels: list[str] | None = None  # names of the classes; integer labels count from the first
    train_examples: int | None = None  # a seeded subset of so many rows
    validation_examples: int | None = None
    test_examples: int | None = None
    subset_seed: int = 0  # apart from the run's seed, so that runs with other seeds see the same rows
    # What repeated, contradictory and shared rows bring about; drop: training goes on without them, fail: not at all.
    on_problem: Literal["report", "fail", "drop"] = "report"
    # Whether evaluation rows are looked for that are nearly training rows: in 20,000 texts, in all, or not.
    near_duplicates: Literal["sample", "all", "none"] = "sample"

    def __post_init__(self) -> None:
        named = self.labels is None or (len(self.labels) >= 2 and len(set(self.labels)) == len(self.labels))
        share = self.validation_share
        check_settings(
            ("labels", named, "must be null or two or more different names"),
            ("validation_share", 0 < share < 1, f"must be between 0 and 1, not {share}"),
            ("subset_seed", self.subset_seed >= 0, f"must be at least 0, not {self.subset_seed}"),
            *(
                (name, (size := getattr(self, name)) is None or size >= 1, "must be null or at least 1")
                for name in ("train_examples", "validation_examples", "test_examples")
            ),
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that there are."""
        return PARTS if self.test is None else (*PARTS, "test")

    @property
    def holds_out(self) -> bool:
        """Whether the validation part is taken out of the training rows."""
        return self.validation is None

    @property
    def hub_name(self) -> str | None:
        """The name on the Hub of what is needed from there."""
        return None

    def problems(self) -> list[tuple[str, str]]:
        """What can be seen to be wrong without reading rows: `[(setting, sentence), ...]`."""
        return []

    def files(self, part: str) -> list[Path]:
        """The local files of a part; none for data from the Hub."""
        return []

    def where(self, part: str) -> str:
        """The part's source, for messages and reports."""
        if not self.holds_out or part == "test":
            return self.source(part)
        held_out = f"the {100 * self.validation_share:.4g}% held out with seed {self.subset_seed}"
        return f"{self.source('train')}, {'' if part == 'validation' else 'all but '}{held_out}"

    def source(self, part: str) -> str:
        """What `read` reads a part from."""
        raise NotImplementedError

    def read(self, part: str) -> Table:
        """All rows of a part with the columns of the source.

        Raises:
            UserError: the source cannot be read as what it claims to be.
        """
        raise NotImplementedError

    def subset_size(self, part: str) -> int | None:
        """How many rows of a part to take; None for all."""
        size: int | None = getattr(self, f"{part}_examples")
        return size


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalFiles(Dataset):
    """Data on this machine: CSV, TSV, JSON, JSONL, Parquet or text, by its suffix, gzipped or not; SQuAD's JSON; or
    a folder that `datasets` saved (of one with several splits, the split's own folder)."""

    format: Literal["auto", "csv", "tsv", "json", "parquet", "text", "squad"] = "auto"
    sample_by: Literal["line", "paragraph", "document"] = "line"  # what a row of a text file is

    def problems(self) -> list[tuple[str, str]]:
        from llama_experiments.data.files import file_problem

        found: list[tuple[str, str]] = []
        for part in self.parts:
            if part == "validation" and self.holds_out:
                continue
            try:
                sentences = [file_problem(file, self.format) for file in self.files(part)]
                found += [(part, sentence) for sentence in sentences if sentence is not None]
            except UserError as error:
                found.append((part, str(error)))
        return found

    def files(self, part: str) -> list[Path]:
        given = self.train if part == "validation" and self.holds_out else getattr(self, part)
        patterns = [given] if isinstance(given, str) else given
        found: list[Path] = []
        for pattern in patterns:
            path = resolve(pattern)
            if glob.has_magic(str(path)) and not path.exists():
                matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
                if not matches:
                    raise UserError(f"no file matches {pattern}")
                found.extend(matches)
            else:
                found.append(path)
        if not found:
            raise UserError("names no file")
        return found

    def source(self, part: str) -> str:
        names = [path.name for path in self.files(part)]
        shown = names if len(names) <= LISTED else [*names[: LISTED - 1], f"{len(names) - LISTED + 1} more files"]
        return ", ".join(shown)

    def read(self, part: str) -> Table:
        from llama_experiments.data.files import read_files

        try:
            return read_files(self.files(part), self.format, self.sample_by)
        except UserError as error:
            raise UserError(f"dataset.{part}: {error}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubDataset(Dataset):
    """A data set of the Hugging Face Hub, downloaded once."""

    needs_hub: ClassVar[bool] = True

    name: str  # owner/name
    config: str | None = None  # the Hub's "configuration" or "subset"
    revision: str | None = None  # a commit, tag or branch: a commit pins what is read
    train: str = "train"  # a split, slices such as train[:90%] included
    validation: str | None = "validation"
    test: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        named = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.name) is not None
        check_settings(("name", named, f"must be a Hub name such as stanfordnlp/imdb, not '{self.name}'"))

    @property
    def hub_name(self) -> str | None:
        return self.name

    def source(self, part: str) -> str:
        return f"{self.name}, split {getattr(self, part)}"

    def read(self, part: str) -> Table:
        import datasets
        from datasets.exceptions import DatasetNotFoundError

        from llama_experiments.data.files import quiet_datasets
        from llama_experiments.hub import explained, gated, not_found

        quiet_datasets()
        try:
            with explained(self.name, "dataset.name"):
                table = datasets.load_dataset(
                    self.name, self.config, split=getattr(self, part), revision=self.revision
                )
        except DatasetNotFoundError as error:  # without its cause, the Hub's refusal
            told = gated(self.name) if "gated" in str(error) else not_found(self.name)
            raise UserError(f"dataset.name: {told}") from error
        except (ValueError, RuntimeError) as error:
            raise self._refused(part, " ".join(str(error).split())) from error
        assert isinstance(table, datasets.Dataset)
        return table

    def _refused(self, part: str, said: str) -> UserError:
        """What the library's refusal means: a script, a configuration or a split that is not there."""
        if "scripts are no longer supported" in said:
            return UserError(
                f"dataset.name: '{self.name}' is a program (a loading script), which `datasets` no longer runs; take "
                "its copy in Parquet, if it has one (dataset.revision=refs/convert/parquet), or files of your own"
            )
        setting = "config" if "BuilderConfig" in said or "Config name" in said else part
        named = f"{self.name}, configuration {self.config}" if setting == "config" else self.source(part)
        return UserError(f"dataset.{setting}: {named}: {said[:300]}")
