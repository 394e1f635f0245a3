"""The settings of training, and what follows from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from llama_experiments.errors import check_settings
from llama_experiments.models.base import OF_16_BITS
from llama_experiments.training.checkpoints import Checkpointing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How long, how fast and in what arithmetic the weights move."""

    learning_rate: float  # at its peak; techniques multiply it
    epochs: int = 3
    batch_size: int = 8  # examples in one optimizer step, over all devices: what the mathematics sees
    micro_batch_size: int | None = None  # examples in one pass on one device; null: a device's share of the batch
    processes: int | None = None  # of one machine, each on a device of its own; null: what a launcher has started
    sharding: Literal["none", "fsdp"] = "none"  # fsdp: each process holds a share of weights, gradients and optimizer
    evaluation_batch_size: int = 32  # of the longest examples in one pass; changes no number
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"  # 8bit: its state in a quarter of the memory, on a GPU
    weight_decay: float = 0.01  # not on norms and biases
    schedule: Literal["linear", "cosine", "constant"] = "linear"  # after the warm-up
    warmup_ratio: float = 0.0  # share of the steps over which the rate rises
    max_grad_norm: float | None = 1.0  # gradients are scaled down to this norm; null: never
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 where the device gains by it
    layout: Literal["auto", "padded", "packed"] = "auto"  # packed: a pass's rows end to end in one; changes no number
    # What no weight that moves is in or below is run once for all epochs; auto: and kept below output_dir/cache for
    # other runs, off: for this run alone. Neither changes a number.
    trunk_cache: Literal["auto", "off"] = "auto"
    trunk_cache_gb: float = 8.0  # at most; a run that needs more runs its whole trunk in each pass
    gradient_checkpointing: bool = False  # less memory, a third more time
    compile: bool = False  # torch.compile of the layers: half a minute at the start, for long runs
    liger_kernels: bool = False  # Liger's kernels for norms and feed-forward parts, on a GPU: less memory and time
    check_memory: bool = True  # before a run: refuse what cannot fit the device
    evaluate_first: bool = True  # epoch 0, before any update
    evaluate_every: int = 1  # epochs; the last is always evaluated
    early_stopping: int | None = None  # evaluations without a new lowest loss after which training ends; null: never
    save_model: Literal["best", "last", "none"] = "best"  # best: of the epoch with the lowest evaluation loss
    checkpoint: Checkpointing = dataclasses.field(default_factory=Checkpointing)
    resume: Literal["never", "auto"] = "never"  # auto: goes on with the newest unfinished run of an equal config
    skip_steps: int = 0  # steps whose gradient is no number that are skipped; one more ends the run
    out_of_memory: Literal["stop", "split"] = "stop"  # split: the step again in passes of half as many examples

    def __post_init__(self) -> None:
        rate = self.learning_rate
        check_settings(
            ("learning_rate", 0 < rate < math.inf, f"must be a positive number, not {rate:g}"),
            ("epochs", self.epochs >= 1, f"must be at least 1, not {self.epochs}"),
            ("batch_size", self.batch_size >= 1, f"must be at least 1, not {self.batch_size}"),
            (
                "micro_batch_size",
                (self.micro_batch_size or 1) >= 1 and self.micro_batch_size != 0,
                "must be null or at least 1",
            ),
            ("processes", self.processes is None or self.processes >= 1, "must be null or at least 1"),
            ("evaluation_batch_size", self.evaluation_batch_size >= 1, "must be at least 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "must be 0 or a positive number"),
            ("trunk_cache_gb", 0 <= self.trunk_cache_gb < math.inf, "must be 0 or a positive number"),
            ("warmup_ratio", 0 <= self.warmup_ratio <= 1, "must be between 0 and 1"),
            (
                "max_grad_norm",
                self.max_grad_norm is None or 0 < self.max_grad_norm < math.inf,
                "must be null or a positive number",
            ),
            ("evaluate_every", self.evaluate_every >= 1, "must be at least 1"),
            ("early_stopping", self.early_stopping is None or self.early_stopping >= 1, "must be null or at least 1"),
            ("skip_steps", self.skip_steps >= 0, "must be at least 0"),
        )

    def problems(self) -> list[tuple[str, str]]:
        """What this machine cannot do: `[(setting, sentence), ...]`."""
        from llama_experiments.models.quantized import why_no_bitsandbytes

        why = why_no_bitsandbytes(self.optimizer) if self.optimizer == "adamw_8bit" else None
        found = [("optimizer", why)] if why else []
        if self.compile:
            from llama_experiments.training.compilation import why_no_compiler

            found += [("compile", why)] if (why := why_no_compiler()) else []
        if self.liger_kernels:
            from llama_experiments.training.liger import why_no_liger

            found += [("liger_kernels", why)] if (why := why_no_liger()) else []
        return found

    def steps_per_epoch(self, examples: int) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(examples / self.batch_size)

    def device_micro_batch(self, processes: int) -> int:
        """Examples in one pass on one device."""
        share = math.ceil(self.batch_size / processes)
        return min(self.micro_batch_size or share, share)

    def ends_early(self, losses: Sequence[float]) -> bool:
        """Whether the last of the evaluations after training epochs have brought nothing.

        Args:
            losses: of the evaluations, epoch 0's first where there was one.
        """
        if self.early_stopping is None or not losses:
            return False
        lowest = min(range(len(losses)), key=losses.__getitem__)
        return len(losses) - 1 - lowest >= self.early_stopping

    def packs(self, attention: str) -> bool:
        """Whether rows are laid end to end: by default where the attention reads only what belongs together.

        The others make a mask over the whole row, which costs more than the padding of rows of similar lengths.
        """
        return self.layout == "packed" or (self.layout == "auto" and attention in OF_16_BITS)

    def rate_factor(self, step: int, steps: int) -> float:
        """The schedule: what the rates are multiplied by in a step (from 0) of so many, in (0, 1]."""
        warmup = math.ceil(self.warmup_ratio * steps)
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, steps - warmup)
        if self.schedule == "linear":
            return 1.0 - done
        if self.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        return 1.0
