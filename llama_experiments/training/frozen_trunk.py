"""The frozen trunk is run once: what of the model is below everything that moves says the same in every epoch.

How far up that goes is read off the model: the decoder layers in and below which no parameter requires a gradient.
Each example passes them in the batches of an evaluation, longest first, never in those of a step. So what comes of it
there depends on nothing but the examples and the weights, and kept, found or made again, no bit of a run changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list

from llama_experiments.data.examples import Examples
from llama_experiments.models.hashes import tensor_hashes
from llama_experiments.models.threads import matching_threads
from llama_experiments.tasks.task_model import TaskModel
from llama_experiments.tasks.trunk import below, frozen_depth, hidden_states, last_states, number_of_layers
from llama_experiments.techniques.parts import EMBEDDINGS, NORM, layer_of, part_of
from llama_experiments.training.evaluation import fitting, passes, to_device
from llama_experiments.training.kept_states import KeptStates, Place
from llama_experiments.training.memory import OutOfMemory
from llama_experiments.training.settings import Training
from llama_experiments.training.stopping import Stopping

VERSION = 4  # raised when the same weights and tokens give other numbers
LARGEST = 4  # bytes of a number
GB = 10**9


def frozen_trunk(
    task_model: TaskModel,
    parts: Iterable[Examples],
    training: Training,
    accelerator: Accelerator,
    cache: Path,
    hashes: Mapping[str, str] | None = None,
) -> FrozenTrunk | None:
    """What of the trunk need be run only once; None where that is no layer, or its result for `parts` is too large.

    Args:
        parts: all examples of the run.
        cache: where results are kept, for other runs too.
        hashes: of the model's parameters, where they are known.
    """
    depth = frozen_depth(task_model.model.base_model)
    if depth == 0 or accelerator.distributed_type == DistributedType.FSDP:  # in which no process has a whole layer
        return None
    frozen = FrozenTrunk(task_model, depth, training, accelerator, cache, hashes)
    # By the settings and the rows, never by what the disk has room for: the batches of a step are others' sums.
    size = sum(LARGEST * rows * hidden for rows, hidden in map(frozen.shape, parts))
    return frozen if size <= training.trunk_cache_gb * GB else None


class FrozenTrunk:
    """The part of a model below everything that moves."""

    def __init__(
        self,
        task_model: TaskModel,
        depth: int,
        training: Training,
        accelerator: Accelerator,
        cache: Path,
        hashes: Mapping[str, str] | None,
    ) -> None:
        self._task_model, self._depth = task_model, depth
        self._training, self._accelerator = training, accelerator
        self._kept = KeptStates(cache / "trunk", int(training.trunk_cache_gb * GB))
        self._whole = depth > number_of_layers(task_model.model.base_model)
        self._pooled = self._whole and task_model.task.pools
        self._packed = training.packs(task_model.model.config._attn_implementation)
        self._hashes = hashes

    def shape(self, examples: Examples) -> tuple[int, int]:
        """Of what is kept of them: a row for each token, or for each example where no more is read."""
        rows = len(examples) if self._pooled else int(examples.lengths.sum())
        return rows, int(self._task_model.model.config.hidden_size)

    def over(self, examples: Examples, stopping: Stopping | None = None) -> Examples:
        """The examples with what the frozen part says of them, looked up or made; all processes call it.

        Raises:
            Stopped: `stopping` says so, between two batches.
            OutOfMemory: a batch does not fit the device.
        """
        check = stopping.check if stopping is not None else lambda: None
        with contextlib.ExitStack() as until_filled:
            place = self._place(examples, check, until_filled)
            if place is None:
                states = torch.empty(self.shape(examples), dtype=self._dtype(examples))
                self._fill(states, examples, check, 0, 1)
            else:
                states = place.mapped()
                if not place.full:
                    self._fill(
                        states, examples, check, self._accelerator.process_index, self._accelerator.num_processes
                    )
                    self._accelerator.wait_for_everyone()
        return examples.with_states(states, pooled=self._pooled)

    def _place(
        self, examples: Examples, check: Callable[[], None], until_filled: contextlib.ExitStack
    ) -> Place | None:
        """Where the numbers are or belong; None: each process makes all of them, in its memory."""
        processes = self._accelerator.num_processes
        if int(os.environ.get("LOCAL_WORLD_SIZE", processes)) != processes:  # other machines' files are not ours
            return None
        place = None
        if self._accelerator.is_main_process:
            with contextlib.suppress(OSError):  # no room on the disk
                place = self._find_or_begin(examples, check, until_filled)
        if processes > 1:
            (place,) = broadcast_object_list([place])
        return place

    def _find_or_begin(
        self, examples: Examples, check: Callable[[], None], until_filled: contextlib.ExitStack
    ) -> Place:
        key, shape = self._key(examples), self.shape(examples)
        keeps = self._training.trunk_cache == "auto"
        with contextlib.ExitStack() as begun:
            begun.enter_context(self._kept.held(key, check))
            place = self._kept.find(key, shape) if keeps else None
            if place is None:
                place = begun.enter_context(self._kept.new(key, shape, self._dtype(examples), kept=keeps))
            until_filled.push(begun.pop_all())
        return place

    def _fill(
        self, states: torch.Tensor, examples: Examples, check: Callable[[], None], first: int, step: int
    ) -> None:
        """Run every `step`-th batch and put what comes of it into `states`."""
        batches = passes(self._task_model, examples, self._training.evaluation_batch_size, self._accelerator)
        starts = np.concatenate([[0], np.cumsum(examples.lengths)])
        waiting = batches[first::step][::-1]
        while waiting:
            check()
            indices = waiting.pop()
            try:
                found = self._run(examples, indices).cpu()
            except OutOfMemory:
                if self._training.out_of_memory == "stop" or len(indices) == 1:
                    raise
                waiting += np.array_split(indices, 2)[::-1]
                continue
            if self._pooled:
                states[torch.from_numpy(indices)] = found
                continue
            for position, index in enumerate(indices):
                states[starts[index] : starts[index + 1]] = found[position, : examples.lengths[index]]

    def _run(self, examples: Examples, indices: np.ndarray) -> torch.Tensor:
        """What the frozen part says of a batch: [batch, length, hidden], pooled [batch, hidden]."""
        self._task_model.eval()
        trunk = below(self._task_model.model.base_model, self._depth)
        device = self._accelerator.device
        threads = matching_threads(self._task_model.model, int(examples.lengths[indices].sum()))
        with fitting(len(indices)), threads, torch.inference_mode(), self._accelerator.autocast():
            batch = to_device(examples.batch(indices, self._packed), device)
            return last_states(trunk, batch) if self._pooled else hidden_states(trunk, batch)

    def _dtype(self, examples: Examples) -> torch.dtype:
        """Of the numbers: autocast, weights and norms have a say in it, so it is tried on one example."""
        return self._run(examples, np.array([int(examples.lengths.argmin())])).dtype

    def _key(self, examples: Examples) -> str:
        """A hash of all that the numbers depend on, to the last bit."""
        model, config = self._task_model.model, self._task_model.model.config.to_dict()
        for name in ("_name_or_path", "id2label", "label2id", "problem_type", "architectures"):
            config.pop(name, None)
        on_cpu = self._accelerator.device.type == "cpu"
        told = {
            "version": [VERSION, torch.__version__, transformers.__version__],
            "device": torch.backends.cpu.get_cpu_capability() if on_cpu else torch.cuda.get_device_name(),
            "threads": torch.get_num_threads() if on_cpu else None,
            "precision": [str(self._accelerator.mixed_precision), torch.get_float32_matmul_precision()],
            "kernels": [model.config._attn_implementation, self._training.compile, self._training.liger_kernels],
            "layout": [self._packed, self._training.evaluation_batch_size, self._pooled],
            "depth": self._depth,
            "config": config,
            "weights": self._frozen_hashes(),
        }
        digest = hashlib.blake2b(json.dumps(told, sort_keys=True, default=str).encode(), digest_size=16)
        ids, _ = examples.ragged["input_ids"]
        first, last = int(examples.offsets[0]), int(examples.offsets[-1])
        digest.update(np.ascontiguousarray(examples.lengths, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(ids[first:last]).tobytes())
        return digest.hexdigest()

    def _frozen_hashes(self) -> dict[str, str]:
        """Of the weights of the frozen part, by name."""
        hashes = self._hashes if self._hashes is not None else tensor_hashes(self._task_model.model)

        def is_below(name: str) -> bool:
            layer, part = layer_of(name), part_of(name)
            return layer < self._depth if layer is not None else part == EMBEDDINGS or (self._whole and part == NORM)

        return {name: value for name, value in hashes.items() if is_below(name)}
