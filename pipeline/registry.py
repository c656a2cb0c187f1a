"""Versions by their addresses in MLflow's registry; `tracking` is the module that fills it."""

from __future__ import annotations

import os
from pathlib import Path

from features.errors import ArtifactError
from pipeline.recorder import ADDRESS, LOGGED_AS

FILES = ("manifest.json", "router.onnx")


def run_of(address: str) -> str:
    """The id of the run that an address such as `models:/tier-router@champion` leads to.

    Raises:
        ArtifactError: MLFLOW_TRACKING_URI is not set, MLflow is not installed, or knows no such model.
    """
    if not os.environ.get(ADDRESS):
        raise ArtifactError(
            f"{address}: {ADDRESS} is not set: export the store's address, such as sqlite:///models/mlflow.db"
        )
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise ArtifactError(f"{address}: addresses of models need MLflow: pip install mlflow") from error
    name = address.removeprefix("models:/")
    try:
        client = MlflowClient()
        if "@" in name:
            found = client.get_model_version_by_alias(*name.split("@", 1))
        else:
            found = client.get_model_version(*name.split("/", 1))
    except (MlflowException, SQLAlchemyError, TypeError, OSError) as error:
        raise ArtifactError(f"{address} leads to no model ({error}): name one as models:/NAME@ALIAS") from error
    if not found.run_id:
        raise ArtifactError(f"{address} was not made by tier-router: it has no run")
    return str(found.run_id)


def fetch(run: str, folder: Path) -> None:
    """Copy what serving needs of a run's version into a folder.

    Raises:
        ArtifactError: the run holds no version, or the store cannot be read.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for name in FILES:
        try:
            found = download_artifacts(run_id=run, artifact_path=f"{LOGGED_AS}/{name}", dst_path=str(folder))
            Path(found).replace(folder / name)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise ArtifactError(f"MLflow run {run}: {name} cannot be fetched: {error}") from error
