"""Runs, models and aliases in MLflow. The one module that knows it, run by a `recorder` in a process of its own.

Without MLFLOW_TRACKING_URI everything is kept in an embedded store: `mlflow.db` and `mlartifacts/` beside the
versions. The logged model is a small pyfunc around `router.onnx`, because MLflow's ONNX flavour hands a data
frame's column to the graph as rank 2, which `string[N]` refuses.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from features.errors import StorageError
from pipeline.artifact import read_manifest
from pipeline.recorder import Tracked, serve

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.model import ModelInfo

MODEL_NAME = "tier-router"
EXPERIMENT = "tier-router"
ADDRESS = "MLFLOW_TRACKING_URI"
REQUIREMENTS = ["numpy", "onnxruntime", "pandas"]
SERVING_MODEL = Path(__file__).with_name("serving_model.py")


@dataclass(frozen=True, slots=True)
class Store:
    """An open store and the experiment that trainings are runs of."""

    client: MlflowClient
    uri: str
    experiment_id: str


def prepare(out: Path) -> Store:
    """Open the store, which takes seconds where it is fresh.

    Args:
        out: existing folder of the embedded store; not used where MLFLOW_TRACKING_URI is set.

    Raises:
        StorageError: it cannot be used.
    """
    server = os.environ.get(ADDRESS)
    store = _connect(server, None) if server else _open(out.resolve())
    _look_up()
    return store


def _look_up() -> None:
    """Let MLflow find out now, while the work goes on, what it will want to know of this machine and remembers."""
    from mlflow.tracking.context.registry import resolve_tags
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    resolve_tags()
    warn_dependency_requirement_mismatches(REQUIREMENTS)


def _open(folder: Path) -> Store:
    """The embedded store. A fresh one gets its name when it is whole: no interrupt leaves half of it."""
    database = folder / "mlflow.db"
    if not database.exists():
        with TemporaryDirectory(prefix=".mlflow-", dir=folder) as making:
            fresh = Path(making) / database.name
            _connect(f"sqlite:///{fresh}", (folder / "mlartifacts").as_uri())
            if not database.exists():
                fresh.rename(database)
    return _connect(f"sqlite:///{database}", (folder / "mlartifacts").as_uri())


def _connect(uri: str, artifacts: str | None) -> Store:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        client = MlflowClient(uri)
        if (experiment := client.get_experiment_by_name(EXPERIMENT)) is not None:
            return Store(client, uri, experiment.experiment_id)
        return Store(client, uri, client.create_experiment(EXPERIMENT, artifact_location=artifacts))
    except (MlflowException, OSError) as error:
        raise StorageError(f"MLflow store {uri} cannot be used: {error}") from error


@contextmanager
def _addressed(uri: str) -> Iterator[None]:
    """MLflow's global address, set and set back: it is an environment variable too, and would look like a user's."""
    from mlflow import set_tracking_uri

    before = os.environ.get(ADDRESS)
    set_tracking_uri(uri)
    try:
        yield
    finally:
        set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


def record(opened: Store, folder: Path) -> Tracked:
    """Log a training as a run with its artifact, and register it: the first becomes champion, later ones challenger.

    Args:
        opened: from `prepare`.
        folder: the version, complete.

    Raises:
        StorageError: the store refuses; the version itself is complete.
    """
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
    from mlflow.exceptions import MlflowException

    manifest = read_manifest(folder)
    try:
        with _addressed(opened.uri), mlflow.start_run(experiment_id=opened.experiment_id, run_name=folder.name) as run:
            data = manifest.get("retuned_on", manifest["data"])
            mlflow.log_params({**manifest["config"], **manifest["vocabulary"], "threshold": manifest["threshold"]})
            source = LocalArtifactDatasetSource(data["source"])
            dataset = MetaDataset(source, data["source"], data["sha256"][:36])  # type: ignore[abstract]  # it has one
            mlflow.log_input(dataset, "training")
            simulated = str(data.get("simulated", False)).lower()
            mlflow.set_tags({"version": folder.name, "data.sha256": data["sha256"], "data.simulated": simulated})
            mlflow.log_artifacts(str(folder), "artifact")
            logged = mlflow.pyfunc.log_model(
                name="router",
                python_model=str(SERVING_MODEL),
                artifacts={"router": str(folder / "router.onnx")},
                pip_requirements=REQUIREMENTS,
            )
            # After the model, which would else copy what the run has so far one by one.
            mlflow.log_metrics(numbers(manifest), model_id=logged.model_id)
            return _register(opened, logged, run.info.run_id)
    except (MlflowException, OSError) as error:
        raise StorageError(f"MLflow did not take the run: {error}") from error


def _register(opened: Store, logged: ModelInfo, run_id: str) -> Tracked:
    from mlflow.exceptions import MlflowException

    client = opened.client
    if not client.search_registered_models(f"name = '{MODEL_NAME}'"):
        client.create_registered_model(MODEL_NAME)
    version = client.create_model_version(MODEL_NAME, logged.model_uri, run_id, model_id=logged.model_id)
    try:
        client.get_model_version_by_alias(MODEL_NAME, "champion")
        alias = "challenger"
    except MlflowException:
        alias = "champion"
    client.set_registered_model_alias(MODEL_NAME, alias, version.version)
    return Tracked(run_id, str(version.version), alias, opened.uri)


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


if __name__ == "__main__":
    serve(prepare, record)
