"""A run that was: found by its folder or its MLflow id, its config read and refused where it could do harm."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llama_experiments.command_line.composition import Composition, compose_command
from llama_experiments.command_line.hydra_errors import first_lines
from llama_experiments.command_line.replay import refuse_unsafe_replay
from llama_experiments.errors import SettingError, UserError
from llama_experiments.files import read_json
from llama_experiments.paths import show
from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.state import State, read_state

if TYPE_CHECKING:
    from llama_experiments.runs.result import Result

MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """What a run left behind. Nothing is read before it is asked for, but that the folder is a run's."""

    folder: RunFolder

    def __post_init__(self) -> None:
        _refuse_links(self.folder.path)

    @property
    def name(self) -> str:
        return self.folder.name

    def composition(self, overrides: Sequence[str] = ()) -> Composition:
        """Its config, composed again and free of interpolations, perhaps with other values.

        Raises:
            UserError: it is not YAML, or could run or read more than settings.
        """
        refuse_unsafe_replay(self.folder.hydra)
        return compose_command(overrides, [], self.folder.hydra.absolute())

    def config(self) -> dict[str, Any]:
        """The composed config as a plain tree."""
        return self.composition().tree

    def plain_config(self) -> dict[str, Any]:
        """The composed config as it was saved, for tables: not checked against what settings there are now.

        Raises:
            UserError: it is not YAML, or could run or read more than settings.
        """
        refuse_unsafe_replay(self.folder.hydra)
        config = OmegaConf.load(self.folder.hydra / "config.yaml")
        try:
            plain = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            raise UserError(f"{show(self.folder.hydra / 'config.yaml')}: {first_lines(error)}") from error
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    def choices(self) -> dict[str, str]:
        """What was chosen of each group; empty where Hydra's own record is gone."""
        file = self.folder.hydra / "hydra.yaml"
        try:
            told = yaml.safe_load(file.read_text(encoding="utf-8"))["hydra"]["runtime"]["choices"]
            return {str(group): str(choice) for group, choice in told.items() if choice}
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, RecursionError):
            return {}

    def overrides(self) -> list[str]:
        """Of its command line."""
        file = self.folder.hydra / "overrides.yaml"
        try:
            told = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else []
        except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
            raise UserError(f"{show(file)} is damaged: {' '.join(str(error).split())}") from error
        return [str(override) for override in told] if isinstance(told, list) else []

    def environment(self) -> dict[str, Any]:
        """What its numbers depend on beside its config.

        Raises:
            UserError: the run ended before it was known, or the file is damaged.
        """
        from llama_experiments.runs.written import read_environment

        file = self.folder.environment
        if not file.exists():
            raise UserError(f"there is no file {show(file)}: the run ended before it had loaded its data and model")
        return read_environment(file)

    def told(self) -> dict[str, Any]:
        """What the run is: its tags and its header; empty of one that ended before it had them."""
        return read_json(self.folder.run) if self.folder.run.exists() else {}

    def refuse_newer(self) -> None:
        """Refuse a run of a version that may mean other things by the same words.

        Raises:
            UserError: it is of a newer version than this.
        """
        from importlib import metadata

        from packaging.version import InvalidVersion, Version

        name = "llama-experiments"
        theirs, ours = self.environment().get("versions", {}).get(name), metadata.version(name)
        try:
            newer = theirs is not None and Version(str(theirs)) > Version(ours)
        except InvalidVersion:
            newer = True
        if newer:
            raise UserError(f"the run is of {name} {theirs}, and this is {ours}; install {theirs} for it")

    def epochs(self) -> list[dict[str, Any]]:
        """Its journal of epochs; words for infinite numbers are turned back into numbers."""
        from llama_experiments.runs.written import read_records

        return read_records(self.folder.epochs, "epoch")

    def steps(self) -> list[dict[str, Any]]:
        """Its journal of steps."""
        from llama_experiments.runs.written import read_records

        return read_records(self.folder.steps, "epoch", "step")

    def result(self) -> Result | None:
        """What came of it; None of a run that has not ended well."""
        from llama_experiments.runs.result import read_result

        return read_result(self.folder) if self.folder.result.exists() else None

    def state(self) -> State:
        """How it is or ended."""
        told = read_state(self.folder.path)
        if told is not None:
            return told
        # Of a run before states were written.
        return State(state="finished") if self.folder.result.exists() else State(state="killed")


def _refuse_links(folder: Path) -> None:
    """A run's folder may have been sent by somebody: through a link in it a file elsewhere would be read, mirrored
    to a tracker, or written; a pipe would never end.

    Raises:
        UserError: a link to what is not in the folder, or something that is neither file nor folder.
    """
    home = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise UserError(f"{show(path)} is a link to {os.readlink(path)}, outside its run; put the file there")
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"{show(path)} is neither a file nor a folder, as all in a run's folder are; remove it")


def is_run(word: str) -> bool:
    """Whether a word of a command line names a run; a sweep's jobs have '=' in their folders' names."""
    return ("=" not in word and not word.startswith("~")) or Path(word).expanduser().exists()


def find_run(text: str, uri: str | None = None) -> SavedRun:
    """The run that a person means: its folder, its `.hydra` folder, or its MLflow id.

    Args:
        uri: of the tracker's store, for an id; None: the default output folder's.

    Raises:
        UserError: there is none, or several (a sweep's folder).
    """
    if MLFLOW_ID.fullmatch(text) and not Path(text).exists():
        return SavedRun(RunFolder(_folder_of_id(text, uri)))
    folder = Path(text).expanduser()
    folder = folder.parent if folder.name in (".hydra", "model", "report.md") else folder
    if not folder.exists():
        raise UserError(f"there is no run {text}; give a run's folder or its id in MLflow (`runs` lists them)")
    if (folder / ".hydra" / "config.yaml").is_file():
        return SavedRun(RunFolder(folder))
    if jobs := jobs_of(folder):
        raise UserError(
            f"{show(folder)} is a sweep of {len(jobs)} runs; give one of them, for example {show(jobs[0])}"
        )
    raise UserError(f"{show(folder)} is no run's folder: it has no .hydra/config.yaml")


def jobs_of(sweep: Path) -> list[Path]:
    """The runs' folders in a sweep's folder, by their numbers."""

    def number(path: Path) -> tuple[int, str]:
        first, _, rest = path.name.partition("-")
        return (int(first), rest) if first.isdecimal() else (1 << 62, path.name)

    return sorted((file.parent.parent for file in sweep.glob("*/.hydra/config.yaml")), key=number)


def _folder_of_id(run_id: str, uri: str | None) -> Path:
    from llama_experiments.runs.tracker import Tracker, connect, without_password

    try:
        store = Tracker(uri=uri).resolved_uri(Path("outputs"))
    except SettingError as error:
        raise UserError(f"tracker.{error}") from error
    file = Path(store.removeprefix("sqlite:///"))
    if store.startswith("sqlite:///") and not file.exists():
        raise UserError(f"there is no run {run_id}: {show(file)} does not exist; say where with tracker.uri=...")
    from mlflow.exceptions import MlflowException

    client = connect(store)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise UserError(f"there is no run {run_id} in {without_password(store)}") from error
    folder = Path(run.data.tags.get("run_folder", ""))
    if run.data.tags.get("run_folder") and (folder / ".hydra" / "config.yaml").is_file():
        return folder
    # Moved away, or of another machine: its artifacts hold what is needed.
    kept = Path("outputs") / "from_mlflow" / run_id
    if not (kept / ".hydra" / "config.yaml").is_file():
        kept.mkdir(parents=True, exist_ok=True)
        client.download_artifacts(run_id, "", str(kept))
        if (kept / "hydra").is_dir() and not (kept / ".hydra").exists():
            (kept / "hydra").rename(kept / ".hydra")
    if not (kept / ".hydra" / "config.yaml").is_file():
        raise UserError(f"the run {run_id} has neither its folder nor its config among its artifacts in MLflow")
    return kept
