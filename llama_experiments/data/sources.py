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

PARTS = ("train", "validation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of a training and a validation part, and which of their columns are the task's."""

    needs_hub: ClassVar[bool] = False

    columns: dict[str, str] = dataclasses.field(default_factory=dict)  # the task's column -> the data's
    labels: list[str] | None = None  # names of the classes; integer labels count from the first
    train_examples: int | None = None  # a seeded subset of so many rows
    validation_examples: int | None = None
    subset_seed: int = 0  # apart from the run's seed, so that runs with other seeds see the same rows

    def __post_init__(self) -> None:
        named = self.labels is None or (len(self.labels) >= 2 and len(set(self.labels)) == len(self.labels))
        check_settings(
            ("labels", named, "must be null or two or more different names"),
            ("subset_seed", self.subset_seed >= 0, f"must be at least 0, not {self.subset_seed}"),
            *(
                (name, (size := getattr(self, name)) is None or size >= 1, "must be null or at least 1")
                for name in ("train_examples", "validation_examples")
            ),
        )

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
        """The part's source, for messages."""
        raise NotImplementedError

    def read(self, part: str) -> Table:
        """All rows of a part with the columns of the source.

        Raises:
            UserError: the source cannot be read as what it claims to be.
        """
        raise NotImplementedError

    def subset_size(self, part: str) -> int | None:
        """How many rows of a part to take; None for all."""
        return {"train": self.train_examples, "validation": self.validation_examples}.get(part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalFiles(Dataset):
    """Files on this machine: CSV, TSV, JSON, JSONL, Parquet or text, by their suffix; or SQuAD's JSON."""

    train: str | list[str]
    validation: str | list[str]
    format: Literal["auto", "csv", "tsv", "json", "parquet", "text", "squad"] = "auto"
    sample_by: Literal["line", "paragraph", "document"] = "line"  # what a row of a text file is

    def problems(self) -> list[tuple[str, str]]:
        from llama_experiments.data.files import file_problem

        found: list[tuple[str, str]] = []
        for part in PARTS:
            try:
                sentences = [file_problem(file, self.format) for file in self.files(part)]
                found += [(part, sentence) for sentence in sentences if sentence is not None]
            except UserError as error:
                found.append((part, str(error)))
        return found

    def files(self, part: str) -> list[Path]:
        given = getattr(self, part)
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

    def where(self, part: str) -> str:
        return ", ".join(path.name for path in self.files(part))

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
    revision: str | None = None
    train: str = "train"  # a split, slices such as train[:90%] included
    validation: str = "validation"

    def __post_init__(self) -> None:
        super().__post_init__()
        named = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.name) is not None
        check_settings(("name", named, f"must be a Hub name such as stanfordnlp/imdb, not '{self.name}'"))

    @property
    def hub_name(self) -> str | None:
        return self.name

    def where(self, part: str) -> str:
        return f"{self.name}, split {getattr(self, part)}"

    def read(self, part: str) -> Table:
        import datasets
        from datasets.exceptions import DatasetNotFoundError

        from llama_experiments.hub import explained, gated, not_found

        datasets.disable_progress_bars()
        try:
            with explained(self.name, "dataset.name"):
                table = datasets.load_dataset(
                    self.name, self.config, split=getattr(self, part), revision=self.revision
                )
        except DatasetNotFoundError as error:  # without its cause, the Hub's refusal
            told = gated(self.name) if "gated" in str(error) else not_found(self.name)
            raise UserError(f"dataset.name: {told}") from error
        except (ValueError, RuntimeError) as error:  # an unknown split or configuration, or a script
            raise UserError(f"dataset.{part}: {self.where(part)}: {' '.join(str(error).split())[:300]}") from error
        assert isinstance(table, datasets.Dataset)
        return table
