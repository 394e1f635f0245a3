"""A prototype: several LoRA adapters trained in one pass over a shared trunk, beside a pass for each of them.

    python benchmarks/adapters.py                                  # the 6M shape, wherever it runs
    python benchmarks/adapters.py --model 7B --length 2048 --rows 1

What a sweep over learning rates could gain (PLoRA, arXiv 2508.02932, reports up to 12.8x on GPUs): the rows of all
adapters lie in one batch, the frozen weights are read once for all of them, and each row meets its own adapter in two
small batched products. Prints tokens a second of both ways, and how far the losses of both are apart.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from side_by_side.models import SHAPES

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

RANK, ALPHA = 8, 16
ADAPTED = ("q_proj", "v_proj")


def main() -> None:
    """Time both ways, alternating."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="6M", choices=list(SHAPES))
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--rows", type=int, default=8, help="of each adapter in a step; %(default)s")
    parser.add_argument("--length", type=int, default=256, help="tokens of a row; %(default)s")
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = _trunk(options.model, device)
    ids = torch.randint(5, 500, (options.adapters, options.rows, options.length), device=device)
    together = _adapt(model, options.adapters)
    tokens = options.steps * ids.numel()
    seconds = {"one after another": float("inf"), "in one pass": float("inf")}
    for _ in range(3):
        losses = {}
        for way in seconds:
            groups = [ids] if way == "in one pass" else list(ids.split(1))
            started = time.perf_counter()
            for _ in range(options.steps):
                losses[way] = [_step(model, together, group, way, at) for at, group in enumerate(groups)]
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[way] = min(seconds[way], time.perf_counter() - started)
    for way, taken in seconds.items():
        print(f"{way:<20}{tokens / taken:>12,.0f} tokens a second")
    one, all_of_them = (torch.cat(losses[way]) for way in seconds)
    print(
        f"{seconds['one after another'] / seconds['in one pass']:.2f} times as fast; losses differ by at most ",
        end="",
    )
    print(f"{float((one - all_of_them).abs().max()):.1e} nats")


def _trunk(name: str, device: torch.device) -> LlamaForCausalLM:
    """A shape with random weights, frozen."""
    import torch
    from transformers import LlamaForCausalLM

    with device:
        model = LlamaForCausalLM(SHAPES[name].config(512)).to(
            torch.bfloat16 if device.type == "cuda" else torch.float32
        )
    return model.requires_grad_(False)


class _Adapters:
    """Of one projection: `down` [adapters, in, rank] and `up` [adapters, rank, out]; `chosen` is who has rows now."""

    def __init__(self, layer: torch.nn.Linear, number: int) -> None:
        import torch

        like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.down = (torch.randn(number, layer.in_features, RANK, **like) / layer.in_features**0.5).requires_grad_()
        self.up = (torch.randn(number, RANK, layer.out_features, **like) * 1e-2).requires_grad_()
        self.chosen = slice(None)
        layer.register_forward_hook(self._add)

    def _add(self, _: torch.nn.Module, given: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        down, up = self.down[self.chosen], self.up[self.chosen]
        grouped = given[0].reshape(len(down), -1, given[0].shape[-1])  # [adapters, rows x length, in]
        return output + (grouped @ down @ up * (ALPHA / RANK)).view_as(output)


def _adapt(model: LlamaForCausalLM, number: int) -> list[_Adapters]:
    return [_Adapters(getattr(layer.self_attn, name), number) for layer in model.model.layers for name in ADAPTED]


def _step(
    model: LlamaForCausalLM, adapters: list[_Adapters], ids: torch.Tensor, way: str, number: int
) -> torch.Tensor:
    """Forward and backward of [adapters, rows, length]; each adapter's loss, [adapters]."""
    import torch

    for one in adapters:
        one.chosen = slice(None) if way == "in one pass" else slice(number, number + 1)
        one.down.grad = one.up.grad = None
    logits = model(input_ids=ids.flatten(0, 1), use_cache=False).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[..., 1:].reshape(-1), reduction="none").view(
        len(ids), -1
    )
    losses.mean(dim=1).sum().backward()
    return losses.detach().mean(dim=1)


if __name__ == "__main__":
    main()
