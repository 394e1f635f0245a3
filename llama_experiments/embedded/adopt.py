"""Take a run's pre-trained model into the package as the embedded one.

    python -m llama_experiments experiment=pretrain_embedded hydra.run.dir=outputs/pretrain
    python -m llama_experiments.embedded.adopt outputs/pretrain [--output FOLDER]

The weights stay as they are. The pad token that every saved run names is taken out again, since the Llamas that
people fine-tune have none: whatever goes wrong without one has to go wrong here first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from llama_experiments.embedded.generate import HERE


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Take a run's pre-trained model into the package.")
    parser.add_argument("run", type=Path, help="the folder of a run of experiment=pretrain_embedded")
    parser.add_argument("--output", type=Path, default=HERE / "model", metavar="FOLDER", help="by default, ours")
    given = parser.parse_args(arguments)
    adopt(given.run / "model", given.output)


def adopt(trained: Path, output: Path) -> None:
    """Copy a saved model, less its pad token."""
    from transformers import LlamaForCausalLM

    from llama_experiments.files import replaced_folder
    from llama_experiments.models.tokenizer import load_tokenizer

    model = LlamaForCausalLM.from_pretrained(trained, local_files_only=True)
    model.config.pad_token_id = None
    model.generation_config.pad_token_id = None
    tokenizer = load_tokenizer(HERE / "tokenizer")
    tokenizer.model_max_length = model.config.max_position_embeddings
    with replaced_folder(output) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)


if __name__ == "__main__":
    main()
