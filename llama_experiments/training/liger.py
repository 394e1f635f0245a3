"""Liger's kernels: a layer's norms and its feed-forward part as one GPU kernel each.

Hsu et al. (2024), "Liger Kernel: Efficient Triton Kernels for LLM Training", arXiv 2410.10989. Its losses are not
used: ours never hold all logits either, and their sums do not depend on how rows are split.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def use_liger(model: PreTrainedModel) -> None:
    """Have this model's norms and feed-forward parts computed by Liger; those of other models stay as they are."""
    from liger_kernel.transformers import apply_liger_kernel_to_llama
    from transformers.models.llama import modeling_llama

    classes = {name: getattr(modeling_llama, name) for name in ("LlamaRMSNorm", "LlamaMLP")}
    # Of rotations it knows only how to replace them for every model of the process.
    apply_liger_kernel_to_llama(rope=False, cross_entropy=False, fused_linear_cross_entropy=False, model=model)
    for name, own in classes.items():
        setattr(modeling_llama, name, own)


def why_no_liger() -> str | None:
    """A sentence where it cannot run."""
    if importlib.util.find_spec("liger_kernel") is None:
        return "true needs the package liger-kernel: pip install 'llama-experiments[liger]', or set it to false"
    import torch

    if not torch.cuda.is_available():
        return "true needs a GPU, and there is none here; set training.liger_kernels=false"
    return None
