"""What a run trained, as MLflow's own entity: its pages list models with their parameters, metrics and runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from llama_experiments.runs.folder import RunFolder
from llama_experiments.runs.mirrored import Mirrored

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run


def log_model(client: MlflowClient, run: Run, folder: RunFolder, mirrored: Mirrored) -> bool:
    """Enter the saved weights, once; whether they were not there yet.

    They stay in the run's folder, unless the tracker wants them copied.
    """
    weights = next((path for path in (folder.model, folder.adapter) if path.is_dir() and not path.is_symlink()), None)
    result = folder.result
    if weights is None or not result.exists():
        return False
    known = _find(client, run, mirrored)
    model = known or _create(client, run, weights, folder, mirrored)
    mirrored.model_id = model.model_id
    if mirrored.log_model and mirrored.artifacts.get("model") != "copied":
        client.log_model_artifacts(model.model_id, str(weights))
        mirrored.artifacts["model"] = "copied"
    if str(model.status) != "READY":
        client.finalize_logged_model(model.model_id, "READY")
    return known is None


def _find(client: MlflowClient, run: Run, mirrored: Mirrored) -> LoggedModel | None:
    found = client.search_logged_models(
        [run.info.experiment_id], f"tags.run_uid = '{mirrored.run_uid}'", max_results=10
    )
    return next(iter(found), None)


def _create(client: MlflowClient, run: Run, weights: Path, folder: RunFolder, mirrored: Mirrored) -> LoggedModel:
    from mlflow.entities import LoggedModelOutput, Metric

    from llama_experiments.runs.result import read_result

    result = read_result(folder)
    model = client.create_logged_model(
        run.info.experiment_id,
        name=re.sub(r"[/:.%\"']", "_", run.info.run_name or folder.name),
        source_run_id=run.info.run_id,
        tags={
            "run_uid": mirrored.run_uid,
            "folder": str(weights.resolve()),
            "load_with": "peft" if weights == folder.adapter else "transformers",
        },
        params={
            "task": result.task,
            "technique": result.technique,
            "base_model": run.data.tags.get("model", ""),
            "dataset": run.data.tags.get("dataset", ""),
            "learning_rate": str(result.learning_rate),
            "epoch": str(result.epoch),
            "trainable_parameters": str(result.trainable_parameters),
        },
        model_type=result.task,
    )
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=result.epoch)])
    for key in ("eval_loss", "train_loss"):
        for point in client.get_metric_history(run.info.run_id, key):
            if point.step == result.epoch:  # the run's own point again, now with the model
                client.log_batch(
                    run.info.run_id,
                    metrics=[Metric(key, point.value, point.timestamp, point.step, model_id=model.model_id)],
                )
    return model
