"""When checkpoints are taken, which are kept, and which of them a run goes on from."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.errors import check_settings

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from llama_experiments.training.checkpoint import Checkpoint, Place

SHARE = 0.03  # of the training's time that checkpoints by the clock may take
GUESS = 1e8  # bytes a second, until the first has been timed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """How often a run's state is kept, to go on from; none of it changes a number. A finished run keeps none."""

    every_steps: int | None = None  # optimizer steps; null: by the clock alone
    every_minutes: float | None = 1.0  # at least, and seldom enough to take less than 3% of the time; null: never
    keep: int = 2  # the newest so many; the best epoch's weights are in model/

    def __post_init__(self) -> None:
        check_settings(
            ("every_steps", self.every_steps is None or self.every_steps >= 1, "must be null or at least 1"),
            ("every_minutes", self.every_minutes is None or self.every_minutes > 0, "must be null or positive"),
            ("keep", self.keep >= 1, "must be at least 1"),
        )


class Checkpoints:
    """A run's checkpoints, below its folder. All processes read them; the first alone writes."""

    def __init__(
        self,
        folder: Path,
        settings: Checkpointing,
        accelerator: Accelerator,
        *,
        before: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = print,
    ) -> None:
        """`before` is called before each: the journal up to there must be on the disk by then."""
        self._folder, self._settings, self._accelerator = folder, settings, accelerator
        self._before, self._warn = before, warn
        self._ended, self._cost = time.monotonic(), 0.0  # of the last one
        self.start: Checkpoint | None = None  # what the run goes on from
        self.taken: Place | None = None  # the place of the last

    def find(self) -> Checkpoint | None:
        """The newest that is whole, for all processes; what is damaged is told and passed over."""
        found = self._newest() if self._accelerator.is_main_process else None
        if self._accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            (found,) = broadcast_object_list([found])
        self.start = found
        return found

    def _newest(self) -> Checkpoint | None:
        from llama_experiments.training.checkpoint import Damaged, read_checkpoint

        for folder in self._taken():
            try:
                return read_checkpoint(folder)
            except Damaged as error:
                self._warn(f"the checkpoint {folder.name} is damaged ({error}); the one before it is taken")
                shutil.rmtree(folder)
        return None

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put back the state that the run goes on from, where there is one."""
        from llama_experiments.training.checkpoint import load_checkpoint

        moving = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._cost = 3 * sum(parameter.numel() * parameter.element_size() for parameter in moving) / GUESS
        if self.start is not None:
            load_checkpoint(self.start, model, optimizer, self._accelerator.scaler)

    def due(self, steps: int) -> bool:
        """Whether one is to be taken after so many steps."""
        if self._settings.every_steps is not None and steps % self._settings.every_steps == 0:
            return True
        if self._settings.every_minutes is None:
            return False
        pause = max(60 * self._settings.every_minutes, self._cost / SHARE)
        return self._agreed(time.monotonic() - self._ended >= pause)

    @property
    def _together(self) -> bool:
        """Whether each process has a share of what is saved."""
        return bool(self._accelerator.is_fsdp2)

    def _agreed(self, due: bool) -> bool:
        """The first process's clock goes for all, where all must save together."""
        if not self._together:
            return due
        import torch
        from accelerate.utils import broadcast

        told = torch.tensor(float(due), device=self._accelerator.device)
        return bool(broadcast(told) > 0)

    def save(self, place: Place, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Take one, and let go of the oldest."""
        from llama_experiments.training.checkpoint import save_checkpoint

        writes = self._accelerator.is_main_process
        if place == self.taken or not (writes or self._together):
            return
        started = time.monotonic()
        self._before()
        save_checkpoint(self._folder, place, model, optimizer, self._accelerator.scaler, writes=writes)
        for old in self._taken()[self._settings.keep :] if writes else []:
            shutil.rmtree(old)
        self.taken, self._ended = place, time.monotonic()
        self._cost = self._ended - started

    def clear(self) -> None:
        """The run has finished: nothing goes on from here."""
        if self._accelerator.is_main_process:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _taken(self) -> list[Path]:
        """Their folders, the newest first."""
        from llama_experiments.training.checkpoint import NAME

        def order(folder: Path) -> tuple[int, bool]:
            match = NAME.fullmatch(folder.name)
            assert match is not None
            return int(match[1]), match[2] is not None

        found = [folder for folder in self._folder.glob("step-*") if NAME.fullmatch(folder.name) and folder.is_dir()]
        return sorted(found, key=order, reverse=True)
