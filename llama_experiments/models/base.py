"""What a model group is: a tokenizer and starting weights for a task."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llama_experiments.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerFast

    from llama_experiments.tasks.base import Task

OF_16_BITS = ("flash_attention_2", "varlen")  # attentions on GPUs, which read only what belongs together


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
    # auto: sdpa, on a CPU our own; varlen: torch's own for rows laid end to end, on a GPU in 16 bits
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "varlen"] = "auto"
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
        sentence = attention_problem(self.attention)
        return [("attention", sentence)] if sentence else []

    def shape(self) -> dict[str, Any] | None:
        """What its config.json says, or would, when that is known without loading it."""
        return None

    def positions(self) -> int | None:
        """The longest sequence the model takes, in tokens, when that is known without loading it."""
        positions = (self.shape() or {}).get("max_position_embeddings")
        return positions if isinstance(positions, int) else None

    def width(self) -> int | None:
        """Its hidden size by its config.json, which is fetched where the model is on the Hub.

        Raises:
            UserError: it cannot be had.
        """
        size = (self.shape() or {}).get("hidden_size")
        return size if isinstance(size, int) else None

    def load(self, task: Task, seed: int, quantization: BitsAndBytesConfig | None = None) -> Loaded:
        """Tokenizer and the task's model on the CPU, audited; fresh weights are a function of the seed.

        Args:
            quantization: the form in which the weights of the trunk are held, on the GPU, where not as stored.

        Raises:
            UserError: the checkpoint cannot be loaded whole.
        """
        raise NotImplementedError

    def _attention(self) -> dict[str, str]:
        """What transformers is told of it."""
        if self.attention == "varlen":
            from llama_experiments.models import varlen

            return {"attn_implementation": varlen.register()}
        if self.attention != "auto":
            return {"attn_implementation": self.attention}
        import torch

        if torch.cuda.is_available():
            return {}
        from llama_experiments.models.attention import register

        return {"attn_implementation": register()}


def attention_problem(attention: str) -> str | None:
    """Why this machine cannot have an attention implementation, or None."""
    if attention not in OF_16_BITS:
        return None
    # With the package `kernels` transformers takes the same code from the Hub.
    packages = ("flash_attn", "kernels")
    if attention == "flash_attention_2" and not any(importlib.util.find_spec(package) for package in packages):
        return "flash_attention_2 needs the package flash-attn, which is not installed; use auto, sdpa or eager"
    import torch

    if not torch.cuda.is_available():
        return f"{attention} needs a GPU, and there is none here; use auto, sdpa or eager"
    return None


def cast_parameters(model: PreTrainedModel, frozen: torch.dtype | None) -> None:
    """Trainable tensors become fp32; frozen ones `frozen`, or stay as stored where that is None."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
        elif frozen is not None and parameter.is_floating_point():  # not what is quantized
            parameter.data = parameter.data.to(frozen)


def cast_as_stored(model: PreTrainedModel, folder: Path) -> None:
    """Frozen tensors in the types in which `folder` has them: those that training computed with."""
    import torch

    from llama_experiments.models.checkpoint_files import read_header, weight_files

    types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    stored: dict[str, torch.dtype] = {}
    for file in weight_files(folder):
        stored |= {name: types[entry["dtype"]] for name, entry in read_header(file).items()}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and name in stored:
            parameter.data = parameter.data.to(stored[name])


def check_length(positions: Any, task: Task) -> None:
    """A checkpoint from the Hub shows its positions only once its config is here.

    Raises:
        UserError: rows may be longer than the model's positions.
    """
    if isinstance(positions, int) and task.max_length > positions:
        raise UserError(f"task.max_length: {task.max_length} tokens are more than the model's {positions} positions")


def with_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Name a pad token that never stands for a real one, for those who will load the saved model in batches.

    Our own batches tell padding by lengths and have no use for it. Embeddings are never resized for it. Where there
    is no such token the tokenizer gets none either: it then refuses to pad rather than pad with a real one.
    """
    from llama_experiments.models.tokenizer import PAD_NAMES, unused_token_id

    configs = [model.config, *filter(None, [getattr(model, "generation_config", None)])]
    real = {index for config in configs for index in _ids(config.bos_token_id) | _ids(config.eos_token_id)}
    pad = unused_token_id(tokenizer, model.config.vocab_size, real)
    for config in configs:
        config.pad_token_id = pad
    # Built with another pad token, the embedding would keep that row, a real token's perhaps, without a gradient.
    model.get_input_embeddings().padding_idx = None
    # Not by the backend's name for the id: that of a token which is normalized may be '▁<unk>', a new token.
    token = None if pad is None else tokenizer.added_tokens_decoder.get(pad)
    name = None if token is None else token.content
    if name is None and pad == len(tokenizer):  # a row that no token has: the next token's
        vocabulary = tokenizer.get_vocab()
        name = next(new for new in PAD_NAMES if new not in vocabulary)
        tokenizer.add_special_tokens({"pad_token": name})
    tokenizer.pad_token = name
    return model


def make_savable(model: PreTrainedModel) -> None:
    """Correct what transformers reads of a checkpoint but refuses to write, or a run would fail at its end.

    A generation config with a temperature but no sampling (as some Llama 2 folders have) means no sampling.
    Embeddings and head stored with different values are not tied, whatever the config says.
    """
    from transformers import GenerationConfig

    generation = getattr(model, "generation_config", None)
    if generation is not None:
        try:
            with quiet_transformers():
                generation.validate(strict=True)
        except ValueError:
            ids = {name: getattr(generation, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
            model.generation_config = GenerationConfig(**ids)
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        model.config.tie_word_embeddings = False


def _ids(setting: int | list[int] | None) -> set[int]:
    return set() if setting is None else {setting} if isinstance(setting, int) else set(setting)


def save_weights(model: PreTrainedModel, folder: Path) -> None:
    """Save the model with its config for plain transformers, which then reads every tensor as it was.

    It reads all of them in the type that the config names, and `save_pretrained` names the first tensor's: beside
    frozen tensors in bf16 those that were trained would be rounded.
    """
    import torch

    # Under the model's own names, not the checkpoint's, where transformers finds no trunk for some heads.
    model.save_pretrained(folder, save_original_format=False)
    if len({parameter.dtype for parameter in model.parameters()}) > 1:
        model.config.dtype = torch.float32
        model.config.save_pretrained(folder)


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Put the weights that `save_pretrained` wrote into `folder` back into the same model."""
    import torch
    from safetensors import safe_open

    from llama_experiments.models.checkpoint_files import weight_files

    own = model.state_dict()  # the parameters themselves
    with torch.no_grad():
        for file in weight_files(folder):
            with safe_open(file, framework="pt") as saved:
                for name in saved.keys():  # noqa: SIM118
                    own[name].copy_(saved.get_tensor(name))


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
