"""Tokenizer and model, from a checkpoint or from scratch, with proof that the weights are the checkpoint's."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llama_experiments.checkpoints import checkpoint_problem, model_config, read_header, weight_files
from llama_experiments.errors import UserError, check_settings
from llama_experiments.paths import resolve

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.tasks.base import Task

# Saved by older versions of transformers, computed by newer ones: not weights.
BUFFERS = re.compile(r"(^|\.)(rotary_emb\.inv_freq|attn\.masked_bias|attn\.bias)$")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A task's model with its tokenizer, and what the audit found."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str  # for people
    fresh: list[str]  # parameters that did not come from a checkpoint
    left_over: list[str]  # tensors of the checkpoint that this task has no use for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """Where tokenizer and starting weights come from."""

    learning_rate: float = 2e-5  # what suits a model of this size; training.learning_rate refers to it
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"  # auto: transformers' choice
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # of frozen tensors; those that train are fp32

    @property
    def needs_hub(self) -> bool:
        """Whether the Hub is asked for anything."""
        return False

    @property
    def hub_name(self) -> str | None:
        """The name on the Hub of what is needed from there."""
        return None

    def problems(self) -> list[tuple[str, str]]:
        """What can be seen to be wrong without loading anything: `[(setting, sentence), ...]`."""
        return []

    def positions(self) -> int | None:
        """The longest sequence the model takes, in tokens, when that is known without loading it."""
        return None

    def load(self, task: Task, seed: int) -> Loaded:
        """Tokenizer and the task's model on the CPU, audited; fresh weights are a function of the seed.

        Raises:
            UserError: the checkpoint cannot be loaded whole.
        """
        raise NotImplementedError

    def _attention(self) -> dict[str, str]:
        return {} if self.attention == "auto" else {"attn_implementation": self.attention}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint(Model):
    """A Llama in Hugging Face format: a folder, or a name on the Hub."""

    checkpoint: str  # a folder or a Hub name
    revision: str | None = None  # of the Hub name

    @property
    def needs_hub(self) -> bool:
        folder = resolve(self.checkpoint)
        return not folder.exists() and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", self.checkpoint) is not None

    @property
    def hub_name(self) -> str | None:
        return self.checkpoint if self.needs_hub else None

    def problems(self) -> list[tuple[str, str]]:
        if self.needs_hub:
            return []
        sentence = checkpoint_problem(resolve(self.checkpoint))
        return [("checkpoint", sentence)] if sentence else []

    def positions(self) -> int | None:
        if self.needs_hub or self.problems():
            return None
        positions = model_config(resolve(self.checkpoint)).get("max_position_embeddings")
        return positions if isinstance(positions, int) else None

    def folder(self) -> Path:
        """The local folder of the checkpoint, downloaded first when it is on the Hub.

        Raises:
            UserError: not there, not reachable, gated, or not a whole Llama checkpoint.
        """
        folder = self._download() if self.needs_hub else resolve(self.checkpoint)
        if (sentence := checkpoint_problem(folder)) is not None:
            raise UserError(f"model.checkpoint: {sentence}")
        return folder

    def _download(self) -> Path:
        from huggingface_hub import snapshot_download

        from llama_experiments.hub import explained

        with explained(self.checkpoint, "model.checkpoint"):
            # Safetensors only: pickled weights can run code.
            wanted = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja"]
            unwanted = ["original/*", "consolidated*"]
            return Path(
                snapshot_download(
                    self.checkpoint, revision=self.revision, allow_patterns=wanted, ignore_patterns=unwanted
                )
            )

    def load(self, task: Task, seed: int) -> Loaded:
        import torch
        from huggingface_hub.errors import StrictDataclassError

        from llama_experiments.tokenizers import load_tokenizer

        folder = self.folder()
        tokenizer = load_tokenizer(folder)
        torch.manual_seed(seed)  # the fresh head's
        try:
            with quiet_transformers():
                model, info = task.model_class().from_pretrained(
                    folder,
                    dtype=_stored_dtype(folder),
                    output_loading_info=True,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    ignore_mismatched_sizes=True,  # they are audited below, with names and shapes
                    **task.model_settings(),
                    **self._attention(),
                )
        except (OSError, ValueError, ImportError, RuntimeError, TypeError, KeyError, StrictDataclassError) as error:
            raise UserError(
                f"model.checkpoint: {folder} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from error
        fresh, left_over = _audit(info, task, folder)
        _start_head(model, fresh, seed)
        _check_vocabulary(model, tokenizer, f"model.checkpoint: {folder}")
        return Loaded(_with_pad_token(model, tokenizer), tokenizer, self.checkpoint, fresh, left_over)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromScratch(Model):
    """A Llama with random weights, of a shape given here; the names are LlamaConfig's."""

    tokenizer: str  # a folder with tokenizer.json or tokenizer.model
    hidden_size: int = 96
    intermediate_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    num_key_value_heads: int = 3
    max_position_embeddings: int = 512
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        whole = (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
        )
        sizes_hold = all(getattr(self, name) >= 1 for name in whole)
        check_settings(
            *((name, getattr(self, name) >= 1, "must be at least 1") for name in (*whole, "max_position_embeddings")),
            (
                "num_attention_heads",
                not sizes_hold or self.hidden_size % (2 * self.num_attention_heads) == 0,
                f"must divide hidden_size ({self.hidden_size}) into heads of an even size",
            ),
            (
                "num_key_value_heads",
                not sizes_hold or self.num_attention_heads % self.num_key_value_heads == 0,
                f"must divide num_attention_heads ({self.num_attention_heads})",
            ),
        )

    def problems(self) -> list[tuple[str, str]]:
        folder = resolve(self.tokenizer)
        if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
            return []
        return [("tokenizer", f"there is no tokenizer.json or tokenizer.model in {folder}")]

    def positions(self) -> int | None:
        return self.max_position_embeddings

    def load(self, task: Task, seed: int) -> Loaded:
        import torch
        from transformers import LlamaConfig

        from llama_experiments.tokenizers import load_tokenizer

        tokenizer = load_tokenizer(resolve(self.tokenizer))
        shape = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in {"tokenizer", "rope_theta", *(base.name for base in dataclasses.fields(Model))}
        }
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            **shape,
            **task.model_settings(),
        )
        torch.manual_seed(seed)
        model = task.model_class()._from_config(config, dtype=torch.float32, **self._attention())
        fresh = [name for name, _ in model.named_parameters()]
        return Loaded(_with_pad_token(model, tokenizer), tokenizer, "from scratch", fresh, [])


def cast_parameters(model: PreTrainedModel, frozen: torch.dtype | None) -> None:
    """Trainable tensors become fp32; frozen ones `frozen`, or stay as stored where that is None."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
        elif frozen is not None:
            parameter.data = parameter.data.to(frozen)


def check_length(loaded: Loaded, task: Task) -> None:
    """A checkpoint from the Hub shows its positions only once it is here.

    Raises:
        UserError: rows may be longer than the model's positions.
    """
    positions = loaded.model.config.max_position_embeddings
    if task.max_length > positions:
        raise UserError(f"task.max_length: {task.max_length} tokens are more than the model's {positions} positions")


def _audit(info: dict[str, Any], task: Task, folder: Path) -> tuple[list[str], list[str]]:
    """Check transformers' account of the loading: which parameters are fresh and which tensors were left over.

    Raises:
        UserError: a tensor of the trunk is fresh or of another shape, or a tensor of the checkpoint had no place.
    """
    mismatched = {key[0]: key for key in info["mismatched_keys"]}
    fresh = sorted({*info["missing_keys"], *mismatched})
    left_over = sorted(key for key in info["unexpected_keys"] if not BUFFERS.search(key))

    def of_head(name: str) -> bool:
        return name.startswith(task.head)

    wrong = [name for name in fresh if not (of_head(name) and task.head_may_be_fresh)]
    if wrong:
        shapes = [
            f"{name} has shape {list(mismatched[name][1])} for {list(mismatched[name][2])}"
            for name in wrong
            if name in mismatched
        ]
        told = _some(shapes or wrong)
        raise UserError(
            f"model.checkpoint: {len(wrong)} tensors of the model did not come from {folder}: {told}; "
            "training would start from random weights there"
        )
    unused = [name for name in left_over if not (name.startswith("lm_head.") and "lm_head." not in task.head)]
    if unused:
        raise UserError(
            f"model.checkpoint: {len(unused)} tensors of {folder} have no place in this model: {_some(unused)}"
        )
    return fresh, left_over


def _start_head(model: PreTrainedModel, fresh: list[str], seed: int) -> None:
    """Draw the new head again on its own seed, so that it does not depend on how transformers loads."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name in fresh:
        parameter = model.get_parameter(name)
        if parameter.ndim >= 2:
            values = torch.randn(parameter.shape, generator=generator) * model.config.initializer_range
        else:
            values = torch.zeros(parameter.shape)
        parameter.data = values.to(parameter.dtype)


def _with_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Name a pad token that never stands for a real one, for those who will load the saved model in batches.

    Our own batches tell padding by lengths and have no use for it. Embeddings are never resized for it.
    """
    from llama_experiments.tokenizers import unused_token_id

    pad = unused_token_id(tokenizer, model.config.vocab_size)
    model.config.pad_token_id = pad
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = pad
    if pad is not None and (token := tokenizer.convert_ids_to_tokens(pad)) is not None:
        tokenizer.pad_token = token
    return model


def _check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, where: str) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise UserError(f"{where}: its tokenizer has ids up to {largest}, but the model has {rows} embeddings")


def _stored_dtype(folder: Path) -> torch.dtype:
    """The widest floating type among the checkpoint's tensors, so that loading rounds nothing."""
    import torch

    kinds = {entry["dtype"] for file in weight_files(folder) for entry in read_header(file).values()}
    if kinds & {"F32", "F64"}:
        return torch.float32
    if kinds >= {"BF16", "F16"}:
        return torch.float32
    return torch.bfloat16 if "BF16" in kinds else torch.float16 if "F16" in kinds else torch.float32


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers prints a report of fresh weights and a progress bar; the audit says it better."""
    import transformers

    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers.utils.logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
