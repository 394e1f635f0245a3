"""A Llama in Hugging Face format: a folder, or a name on the Hub."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_experiments.errors import UserError
from llama_experiments.hub import explained, unreachable
from llama_experiments.models.audit import audit, check_vocabulary, match_classes, start_head
from llama_experiments.models.base import (
    Loaded,
    Model,
    check_length,
    make_savable,
    quiet_transformers,
    with_pad_token,
)
from llama_experiments.models.checkpoint_files import (
    INDEX,
    SINGLE,
    checkpoint_problem,
    config_problem,
    indexed_files,
    model_config,
    read_header,
    weight_files,
)
from llama_experiments.paths import resolve

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

    from llama_experiments.tasks.base import Task


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
        found = super().problems()
        if not self.needs_hub and (sentence := checkpoint_problem(resolve(self.checkpoint))) is not None:
            found.append(("checkpoint", sentence))
        return found

    def shape(self) -> dict[str, Any] | None:
        folder = resolve(self.checkpoint)
        return None if self.needs_hub or checkpoint_problem(folder) is not None else model_config(folder)

    def width(self) -> int | None:
        if not self.needs_hub:
            return super().width()
        size = model_config(self.small_files()).get("hidden_size")
        return size if isinstance(size, int) else None

    def folder(self, task: Task) -> Path:
        """The local folder of the checkpoint, downloaded first when it is on the Hub.

        Raises:
            UserError: not there, not reachable, gated, or not a whole Llama checkpoint.
        """
        folder = self._download(task) if self.needs_hub else resolve(self.checkpoint)
        if (sentence := checkpoint_problem(folder)) is not None:
            raise UserError(f"model.checkpoint: {sentence}")
        return folder

    def _download(self, task: Task) -> Path:
        """The small files first: what they say against the model is said before its gigabytes are fetched."""
        folder = self.small_files()
        if (sentence := config_problem(folder)) is not None:
            raise UserError(f"model.checkpoint: {sentence}")
        check_length(model_config(folder).get("max_position_embeddings"), task)
        # Safetensors only: pickled weights can run code.
        indexed = indexed_files(folder) if (folder / INDEX).is_file() else []
        folder = self._fetch([SINGLE, *indexed], folder.name)  # of the same commit
        if not indexed and not (folder / SINGLE).is_file():
            from huggingface_hub import constants

            if constants.HF_HUB_OFFLINE:
                raise UserError(f"model.checkpoint: {unreachable(self.checkpoint)}")
            raise UserError(
                f"model.checkpoint: '{self.checkpoint}' has no {SINGLE} on the Hub; pickled weights, which can run "
                "code, are not taken; another model.revision may have it (refs/pr/1 and so on)"
            )
        return folder

    def small_files(self) -> Path:
        """The folder of a Hub name's config.json and tokenizer, downloaded.

        Raises:
            UserError: they cannot be had.
        """
        return self._fetch(["*.json", "*.jinja", "tokenizer.model"], self.revision)

    def _fetch(self, names: list[str], revision: str | None) -> Path:
        from huggingface_hub import snapshot_download

        with explained(self.checkpoint, "model.checkpoint"):
            return Path(
                snapshot_download(self.checkpoint, revision=revision, allow_patterns=names, ignore_patterns=["*/*"])
            )

    def load(self, task: Task, seed: int, quantization: BitsAndBytesConfig | None = None) -> Loaded:
        import torch
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError

        from llama_experiments.models.tokenizer import load_tokenizer

        folder = self.folder(task)
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
                    key_mapping=task.key_mapping() or None,
                    **({"quantization_config": quantization, "device_map": {"": "cuda"}} if quantization else {}),
                    **task.model_settings(),
                    **self._attention(),
                )
        except (
            OSError,
            ValueError,
            ImportError,
            RuntimeError,
            TypeError,
            KeyError,
            StrictDataclassError,
            SafetensorError,
        ) as error:
            reason = f"config.json: unknown {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise UserError(f"model.checkpoint: {folder} cannot be loaded: {reason[:300]}") from error
        fresh, left_over = audit(info, task, folder)
        start_head(model, fresh, seed)
        if not fresh:
            match_classes(model, task, model_config(folder).get("id2label") or {})
        check_vocabulary(model, tokenizer, f"model.checkpoint: {folder}")
        make_savable(model)
        return Loaded(with_pad_token(model, tokenizer), tokenizer, self.checkpoint, fresh, left_over)


def _stored_dtype(folder: Path) -> torch.dtype:
    """The widest floating type among the checkpoint's tensors, so that loading rounds nothing."""
    import torch

    kinds = {entry["dtype"] for file in weight_files(folder) for entry in read_header(file).values()}
    if kinds & {"F32", "F64"}:
        return torch.float32
    if kinds >= {"BF16", "F16"}:
        return torch.float32
    return torch.bfloat16 if "BF16" in kinds else torch.float16 if "F16" in kinds else torch.float32
