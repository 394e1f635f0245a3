"""Task-specific fine-tuning of Llama models: composed by Hydra, run by Accelerate, recorded in MLflow."""

__version__ = "0.1.0"
