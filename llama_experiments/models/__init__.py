"""Tokenizer and model: from a checkpoint, with proof that the weights are its own, or from scratch."""
