"""QLoRA: LoRA over a trunk that is held in 4 bits (Dettmers et al. 2023); through bitsandbytes, on a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from llama_experiments.errors import check_settings
from llama_experiments.models.quantized import why_no_bitsandbytes
from llama_experiments.techniques.lora import LoRA

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLoRA(LoRA):
    """The linear modules of the trunk in 4-bit NormalFloat, their scales quantized again; the rest as it is."""

    name: ClassVar[str] = "QLoRA"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            ("merge", not self.merge, "must be false: the trunk's weights are not whole; merge into the checkpoint's")
        )

    def problems(self, shape: Mapping[str, Any] | None) -> list[tuple[str, str]]:
        why = why_no_bitsandbytes("a trunk in 4 bits")
        return [*super().problems(shape), *([("", why)] if why else [])]

    def quantization(self) -> BitsAndBytesConfig | None:
        import torch
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16,
            llm_int8_skip_modules=["lm_head", "score", "qa_outputs"],  # it means 4 bits as well
        )
