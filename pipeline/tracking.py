"""Runs, models and aliases in MLflow. The one module that knows it.

Without MLFLOW_TRACKING_URI everything is kept in an embedded store: `mlflow.db` and `mlartifacts/` beside the
versions. The logged model is a small pyfunc around `router.onnx`, because MLflow's ONNX flavour hands a data
frame's column to the graph as rank 2, which `string[N]` refuses.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_NAME = "tier-router"
EXPERIMENT = "tier-router"
ADDRESS = "MLFLOW_TRACKING_URI"
SERVING_MODEL = Path(__file__).with_name("serving_model.py")


@dataclass(frozen=True, slots=True)
class Tracked:
    """Where a run went: its id, the model version, the alias it was given, and the store's address."""

    run_id: str
    model_version: str
    alias: str
    store: str


def store_uri(out: Path) -> str:
    """The tracking address: MLFLOW_TRACKING_URI, or the embedded store under `out`."""
    return os.environ.get(ADDRESS) or f"sqlite:///{out.resolve() / 'mlflow.db'}"


@dataclass(frozen=True, slots=True)
class Store:
    """An open store and the experiment that trainings are runs of."""

    client: MlflowClient
    experiment_id: str


def prepare(out: Path) -> Future[Store]:
    """Open the store in the background: loading MLflow and creating a fresh store take seconds.

    Args:
        out: folder of the embedded store; not used where MLFLOW_TRACKING_URI is set.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
    future = pool.submit(_open, out)
    pool.shutdown(wait=False)
    return future


def _open(out: Path) -> Store:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient, set_tracking_uri
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    uri = store_uri(out)
    set_tracking_uri(uri)
    client = MlflowClient(uri)
    try:
        if (experiment := client.get_experiment_by_name(EXPERIMENT)) is not None:
            return Store(client, experiment.experiment_id)
        embedded = None if os.environ.get(ADDRESS) else (out.resolve() / "mlartifacts").as_uri()
        return Store(client, client.create_experiment(EXPERIMENT, artifact_location=embedded))
    except (MlflowException, OSError) as error:
        raise StorageError(f"MLflow store {uri} cannot be used: {error}") from error


def record(store: Future[Store], folder: Path, manifest: Mapping[str, Any]) -> Tracked:
    """Log a training as a run with its artifact, and register it: the first becomes champion, later ones challenger.

    Args:
        store: from `prepare`.
        folder: the version, complete.
        manifest: its manifest.

    Raises:
        StorageError: the store refuses; the version itself is complete.
    """
    opened = store.result()
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
    from mlflow.exceptions import MlflowException

    try:
        with mlflow.start_run(experiment_id=opened.experiment_id, run_name=folder.name) as run:
            data = manifest["data"]
            mlflow.log_params({**manifest["config"], **manifest["vocabulary"], "threshold": manifest["threshold"]})
            mlflow.log_metrics(numbers(manifest))
            source = LocalArtifactDatasetSource(data["source"])
            dataset = MetaDataset(source, data["source"], data["sha256"][:36])  # type: ignore[abstract]  # it has one
            mlflow.log_input(dataset, "training")
            mlflow.set_tags({"version": folder.name, "data.sha256": data["sha256"]})
            mlflow.log_artifacts(str(folder), "artifact")
            logged = mlflow.pyfunc.log_model(
                name="router",
                python_model=str(SERVING_MODEL),
                artifacts={"router": str(folder / "router.onnx")},
                pip_requirements=["numpy", "onnxruntime", "pandas"],
            )
            return _register(opened.client, logged.model_uri, run.info.run_id)
    except (MlflowException, OSError) as error:
        raise StorageError(f"MLflow did not take the run: {error}; the version {folder} is complete") from error


def _register(client: MlflowClient, model_uri: str, run_id: str) -> Tracked:
    from mlflow.exceptions import MlflowException

    if not client.search_registered_models(f"name = '{MODEL_NAME}'"):
        client.create_registered_model(MODEL_NAME)
    version = client.create_model_version(MODEL_NAME, model_uri, run_id)
    try:
        client.get_model_version_by_alias(MODEL_NAME, "champion")
        alias = "challenger"
    except MlflowException:
        alias = "champion"
    client.set_registered_model_alias(MODEL_NAME, alias, version.version)
    return Tracked(run_id, str(version.version), alias, client.tracking_uri)


def numbers(manifest: Mapping[str, Any]) -> dict[str, float]:
    """The router's metrics on both parts, with the ends of their intervals, by name; undefined ones are left out."""
    ends = {"value": "", "low": "_low", "high": "_high"}
    return {
        f"{part}_{name}{ends[end]}": value
        for part, metrics in manifest["metrics"].items()
        for name, estimate in metrics.items()
        if estimate is not None
        for end, value in estimate.items()
        if value is not None
    }
