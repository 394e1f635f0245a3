"""One optimizer step over a list of examples, in as many passes and on as many devices as there are."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time

import numpy as np
import torch
from accelerate import Accelerator

from llama_experiments.data.examples import Examples, hash_of_indices
from llama_experiments.errors import UserError
from llama_experiments.models.shards import whole
from llama_experiments.models.threads import matching_threads
from llama_experiments.tasks.base import Output
from llama_experiments.training.checkpoint import Place, Sums
from llama_experiments.training.evaluation import to_device
from llama_experiments.training.memory import OutOfMemory, is_out_of_memory
from llama_experiments.training.optimization import set_rates
from llama_experiments.training.settings import Training
from llama_experiments.training.stopping import Stopping


class Diverged(UserError):
    """The loss is no longer a number."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One optimizer step."""

    epoch: int
    step: int  # from 1, over the whole run
    steps: int  # of the whole run
    loss: float  # a sum, in nats
    count: int  # items it is a sum over
    tokens: int  # real ones, no padding
    examples: int
    examples_hash: str
    learning_rate: float  # the highest of the groups
    gradient_norm: float  # before clipping
    seconds: float
    micro_batch_size: int
    skipped: bool = False  # its gradient was no number: the weights were left as they were


def check_number(loss: float, where: str, training: Training) -> None:
    """Raises Diverged where a loss is no number."""
    if not math.isfinite(loss):
        raise Diverged(
            f"training.learning_rate: the loss is {loss} in {where}: training diverged; lower "
            f"training.learning_rate (now {training.learning_rate:g})"
        )


class Stepper:
    """Makes the steps of a run."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Examples,
        training: Training,
        accelerator: Accelerator,
        steps: int,
        packed: bool,
        stopping: Stopping,
        place: Place,
    ) -> None:
        self.model, self.train = model, train
        # Accelerate's own wrapper scales for fp16, and asks at each step what is installed.
        self.optimizer = optimizer if accelerator.scaler is not None else getattr(optimizer, "optimizer", optimizer)
        self._parameters = list(model.parameters())
        self.training, self.accelerator, self.steps = training, accelerator, steps
        self.packed, self.stopping = packed, stopping
        self._llama = accelerator.unwrap_model(model).model
        self.micro_batch = training.device_micro_batch(accelerator.num_processes)
        if place.micro_batch_size is not None:
            self.micro_batch = min(self.micro_batch, place.micro_batch_size)
        self._fits = place.micro_batch_size  # what the memory had room for; None: whatever was tried
        self._skipped = place.skipped

    def step(self, indices: np.ndarray, epoch: int, number: int, seed: int) -> Step:
        """Forward, backward, clip, update.

        Args:
            indices: the step's examples.
            number: of the step, from 0 over the whole run.
            seed: of its random draws.
        """
        started = time.perf_counter()
        rate = set_rates(self.optimizer, self.training.rate_factor(number, self.steps))
        tokens = int(self.train.lengths[indices].sum())
        of_a_pass = tokens / (self.accelerator.num_processes * self._passes(len(indices)))
        with matching_threads(self._llama, of_a_pass):
            loss, norm, skipped = self._update(indices, number, seed)
        return Step(
            epoch=epoch,
            step=number + 1,
            steps=self.steps,
            loss=loss,
            count=int(self.train.counts[indices].sum()),
            tokens=tokens,
            examples=len(indices),
            examples_hash=hash_of_indices(indices),
            learning_rate=rate,
            gradient_norm=norm,
            seconds=time.perf_counter() - started,
            micro_batch_size=self.micro_batch,
            skipped=skipped,
        )

    def _update(self, indices: np.ndarray, number: int, seed: int) -> tuple[float, float, bool]:
        """Returns the sum of the loss, the gradient's norm, and whether the weights were left as they were."""
        loss = self._gradients_that_fit(indices, seed)
        limit = self.training.max_grad_norm or math.inf
        norm = float(whole(self.accelerator.clip_grad_norm_(self._parameters, limit)))
        # The loss scaler of fp16 looks for gradients that are no numbers itself: they are how it finds its scale.
        skipped = not math.isfinite(loss) or (not math.isfinite(norm) and self.accelerator.scaler is None)
        if skipped:
            self._skip(loss, norm, number)
        if not skipped or self.accelerator.scaler is not None:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm, skipped

    def _passes(self, examples: int) -> int:
        """Of a step, on each device; every process makes as many as the busiest, or the others would wait forever."""
        processes: int = self.accelerator.num_processes
        return math.ceil(math.ceil(examples / processes) / self.micro_batch)

    def place_after(self, place: Place, step: Step) -> Place:
        """The place of a run that was at `place` and has made `step`; one that was skipped is in no sum of losses."""
        sums = place.sums
        return dataclasses.replace(
            place,
            steps=step.step,
            sums=Sums(
                loss=sums.loss + (0.0 if step.skipped else step.loss),
                count=sums.count + (0 if step.skipped else step.count),
                examples=sums.examples + step.examples,
                tokens=sums.tokens + step.tokens,
                seconds=sums.seconds + step.seconds,
                learning_rate=step.learning_rate,
            ),
            micro_batch_size=self._fits,
            skipped=self._skipped,
        )

    def _skip(self, loss: float, norm: float, number: int) -> None:
        """Leave a step out, as long as not too many have been."""
        if self._skipped >= self.training.skip_steps:
            before = f", after {self._skipped} that were skipped" if self._skipped else ""
            check_number(loss, f"step {number + 1}{before}", self.training)
            raise Diverged(
                f"training.learning_rate: the gradient is {norm} in step {number + 1}{before}: training diverged; "
                f"lower training.learning_rate (now {self.training.learning_rate:g})"
            )
        self._skipped += 1

    def _gradients_that_fit(self, indices: np.ndarray, seed: int) -> float:
        """The gradients, in passes of half as many examples where the device's memory is short, if that is wanted."""
        while True:
            self._seed(seed)
            try:
                return self._gradients(indices, float(self.train.weights[indices].sum()))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                alone = self.accelerator.num_processes == 1
                if self.training.out_of_memory == "stop" or self.micro_batch == 1 or not alone:
                    raise OutOfMemory(self._advice(alone)) from error
            # Outside of the except, or the error's frames would keep what did not fit.
            self.optimizer.zero_grad()
            if self.accelerator.device.type == "cuda":
                torch.cuda.empty_cache()
            self.micro_batch = self._fits = math.ceil(self.micro_batch / 2)

    def _seed(self, seed: int) -> None:
        """Of what the device draws; of kinds that are not here `torch.manual_seed` would write down a trace each."""
        if self.accelerator.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _advice(self, alone: bool) -> str:
        where = "GPU" if self.accelerator.device.type == "cuda" else "machine"
        if self.micro_batch == 1:
            return (
                f"training.micro_batch_size: the {where}'s memory is full at one example a pass; set "
                "training.gradient_checkpointing=true, lower task.max_length, or use technique=lora"
            )
        setting = ", or training.out_of_memory=split, which does so by itself" if alone else ""
        return (
            f"training.micro_batch_size: the {where}'s memory is full with {self.micro_batch} examples a pass; set "
            f"training.micro_batch_size={math.ceil(self.micro_batch / 2)}, which changes no number{setting}"
        )

    def _gradients(self, indices: np.ndarray, weight: float) -> float:
        """Add up the gradient of the step's objective, its sum divided by all its examples' weight.

        Returns the sum of the loss.
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = indices[rank::processes]
        passes = self._passes(len(indices))
        total = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        for position in range(passes):
            rows = mine[position * self.micro_batch : (position + 1) * self.micro_batch]
            idle = len(rows) == 0
            batch = self.train.batch(indices[:1] if idle else rows, self.packed)
            last = position == passes - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                output: Output = self.model(to_device(batch, self.accelerator.device))
                objective = output.loss if output.objective is None else output.objective
                # Processes' gradients are averaged, not summed: hence the factor.
                self.accelerator.backward(objective * (0.0 if idle else processes / weight))
            if not idle:
                total += output.loss.detach().double()
        if processes == 1:
            return float(total)
        # A signal may have reached one process alone: all of them stop after the same step.
        told = torch.cat([total[None], total.new_tensor(self.stopping.vote())])
        told = self.accelerator.reduce(told, reduction="sum")
        self.stopping.agree(*told[1:].tolist())
        return float(told[0])
