"""Runs, models and aliases in MLflow, run by a `recorder` in a process of its own.

Without MLFLOW_TRACKING_URI everything is kept in an embedded store: `mlflow.db` and `mlartifacts/` beside the
versions. The logged model is a small pyfunc around `router.onnx`, because MLflow's ONNX flavour hands a data
frame's column to the graph as rank 2, which `string[N]` refuses.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from features.errors import StorageError
from pipeline.artifact import read_manifest
from pipeline.recorder import ADDRESS, CHAMPION, DATABASE, LOGGED_AS, Tracked, serve

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.model import ModelInfo

MODEL_NAME = "tier-router"
EXPERIMENT = "tier-router"
# Tag of a run: the SHA-256 of its router.onnx, by which what is shipped is found again.
DIGEST = "router.sha256"
# What SQLite says where another process has the file.
LOCKED = "database is locked"
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
    database = folder / DATABASE
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

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        client = MlflowClient(uri)
        if (experiment := client.get_experiment_by_name(EXPERIMENT)) is not None:
            return Store(client, uri, experiment.experiment_id)
        return Store(client, uri, client.create_experiment(EXPERIMENT, artifact_location=artifacts))
    except _refusals() as error:
        raise _refused(uri, error, f"MLflow store {uri} cannot be used: {_said(error)}") from error


def _refusals() -> tuple[type[Exception], ...]:
    """What a store raises; where a database is damaged, MLflow lets the errors of what is below it through."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def _refused(uri: str, error: Exception, otherwise: str) -> StorageError:
    """What is complained of: a locked database has a remedy of its own."""
    if LOCKED not in str(error):
        return StorageError(otherwise)
    return StorageError(
        f"MLflow store {uri} is locked by another process (a training, `mlflow ui`, or a network file system): wait "
        "until it has ended, or end it, and run this again, which is safe: what serves is untouched"
    )


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0]


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

    manifest = read_manifest(folder)
    try:
        with _addressed(opened.uri), mlflow.start_run(experiment_id=opened.experiment_id, run_name=folder.name) as run:
            data = manifest.get("retuned_on", manifest["data"])
            mlflow.log_params({**manifest["config"], **manifest["vocabulary"], "threshold": manifest["threshold"]})
            source = LocalArtifactDatasetSource(data["source"])
            dataset = MetaDataset(source, data["source"], data["sha256"][:36])  # type: ignore[abstract]  # it has one
            mlflow.log_input(dataset, "training")
            simulated = str(data.get("simulated", False)).lower()
            mlflow.set_tags(
                {
                    "version": folder.name, DIGEST: manifest["onnx"]["router"]["sha256"],
                    "data.sha256": data["sha256"], "data.simulated": simulated,
                }
            )  # fmt: skip
            mlflow.log_artifacts(str(folder), LOGGED_AS)
            logged = mlflow.pyfunc.log_model(
                name="router",
                python_model=str(SERVING_MODEL),
                artifacts={"router": str(folder / "router.onnx")},
                pip_requirements=REQUIREMENTS,
            )
            # After the model, which would else copy what the run has so far one by one.
            mlflow.log_metrics(numbers(manifest), model_id=logged.model_id)
            return _register(opened, logged, run.info.run_id)
    except _refusals() as error:
        raise _refused(opened.uri, error, f"MLflow did not take the run: {_said(error)}") from error


def _register(opened: Store, logged: ModelInfo, run_id: str) -> Tracked:
    from mlflow.exceptions import MlflowException

    client = opened.client
    if not client.search_registered_models(f"name = '{MODEL_NAME}'"):
        client.create_registered_model(MODEL_NAME)
    version = client.create_model_version(MODEL_NAME, logged.model_uri, run_id, model_id=logged.model_id)
    try:
        client.get_model_version_by_alias(MODEL_NAME, CHAMPION)
        alias = "challenger"
    except MlflowException:
        alias = CHAMPION
    client.set_registered_model_alias(MODEL_NAME, alias, version.version)
    return Tracked(run_id, str(version.version), alias, opened.uri)


@contextmanager
def _moving(opened: Store) -> Iterator[None]:
    try:
        yield
    except _refusals() as error:
        said = f"MLflow did not let the alias {CHAMPION} be moved ({_said(error)}): see to that, or give --no-alias"
        raise _refused(opened.uri, error, said) from error


def find(opened: Store, digest: str) -> str:
    """The number of the newest model version that was made from a `router.onnx`; "" if none was.

    Args:
        opened: from `prepare`.
        digest: SHA-256 of the file.

    Raises:
        StorageError: the store refuses.
    """
    with _moving(opened):
        runs = opened.client.search_runs([opened.experiment_id], f"tags.`{DIGEST}` = '{digest}'", max_results=1)
        made = f"name = '{MODEL_NAME}' and run_id = '{runs[0].info.run_id}'" if runs else ""
        found = opened.client.search_model_versions(made) if made else []
        return max((str(each.version) for each in found), key=int, default="")


def crown(opened: Store, number: str) -> str:
    """Give the alias `champion` to a model version, or take it from all where "" is given; returns which had it.

    Raises:
        StorageError: the store refuses.
    """
    client = opened.client
    with _moving(opened):
        had = str(client.get_registered_model(MODEL_NAME).aliases.get(CHAMPION, ""))
        if number:
            client.set_registered_model_alias(MODEL_NAME, CHAMPION, number)
        elif had:
            client.delete_registered_model_alias(MODEL_NAME, CHAMPION)
        return had


def reigning(opened: Store, alias: str) -> str:
    """SHA-256 of the `router.onnx` of the model version with an alias; "" if none has it.

    Raises:
        StorageError: the store refuses.
    """
    with _moving(opened):
        found = opened.client.search_registered_models(f"name = '{MODEL_NAME}'")
        number = found[0].aliases.get(alias) if found else None
        if number is None:
            return ""
        run_id = opened.client.get_model_version(MODEL_NAME, str(number)).run_id
        return str(opened.client.get_run(run_id).data.tags.get(DIGEST, "")) if run_id else ""


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
    verbs = {
        "record": lambda opened, folder: asdict(record(opened, Path(folder))), "find": find, "crown": crown,
        "reigning": reigning,
    }  # fmt: skip
    serve(prepare, verbs)
