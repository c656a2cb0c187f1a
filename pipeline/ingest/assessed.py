"""Assessments of MLflow's traces, run by `traced` in a process of its own."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import StorageError
from pipeline.recorder import ADDRESS, DATABASE, serve

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Assessment, TraceInfo

# Of a trace: the id of its decision, where its client_request_id is another one.
TAG = "tier_router.task_id"
HUMAN = "HUMAN"
YES, NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}


def prepare(out: Path) -> MlflowClient:
    """Open the store.

    Args:
        out: folder of the embedded store; not used where MLFLOW_TRACKING_URI is set.

    Raises:
        StorageError: there is none, or it cannot be used.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    database = out.resolve() / DATABASE
    if not os.environ.get(ADDRESS) and not database.exists():
        raise StorageError(f"{database}: there is no such store: name its folder with --store, or set {ADDRESS}")
    try:
        return MlflowClient(os.environ.get(ADDRESS) or f"sqlite:///{database}")
    except _refusals() as error:
        raise StorageError(f"MLflow's store cannot be used: {_said(error)}") from error


def assessments(client: MlflowClient, wanted: str) -> dict[str, int]:
    """Write what was assessed as lines of JSON, with the columns of a file of outcomes.

    Args:
        client: from `prepare`.
        wanted: as JSON: the `experiment`, the `names` of assessments, `from_ms`, since when, how many traces to read
            `at_once`, and the `target` to write.

    Returns:
        How many traces there are, how many assessments of them, and of how many traces the decision is not known.

    Raises:
        StorageError: there is no such experiment, it cannot be read, or an assessment is no outcome.
    """
    asked = json.loads(wanted)
    found = {"traces": 0, "assessed": 0, "nameless": 0}
    with Path(asked["target"]).open("w", encoding="utf-8") as file:
        for trace in _traces(client, asked["experiment"], asked["from_ms"], asked["at_once"]):
            found["traces"] += 1
            said = list(_standing(trace, asked["names"]))
            name = trace.tags.get(TAG) or trace.client_request_id
            found["nameless"] += bool(said) and not name
            for each in said if name else ():
                found["assessed"] += 1
                file.write(json.dumps({"task_id": name, **_outcome(each, trace.trace_id)}) + "\n")
    return found


def _traces(client: MlflowClient, experiment: str, from_ms: int, at_once: int) -> Iterator[TraceInfo]:
    """The traces of an experiment, oldest first, without their spans."""
    try:
        known = client.get_experiment_by_name(experiment)
        if known is None:
            names = ", ".join(sorted(each.name for each in client.search_experiments(max_results=10)))
            raise StorageError(f"MLflow has no experiment {experiment!r}: give one of {names}")
        token: str | None = None
        while True:
            page = client.search_traces(
                locations=[known.experiment_id], filter_string=f"trace.timestamp_ms >= {from_ms}",
                max_results=at_once, order_by=["timestamp_ms ASC"], page_token=token, include_spans=False,
            )  # fmt: skip
            yield from (trace.info for trace in page)
            token = page.token
            if not token:
                return
    except _refusals() as error:
        raise StorageError(f"MLflow's traces of {experiment!r} cannot be read: {_said(error)}") from error


def _standing(trace: TraceInfo, names: list[str]) -> Iterator[Assessment]:
    """The feedback that counts: what people say stands above judges and code, and what was overridden does not."""
    said = [
        each for each in trace.assessments
        if each.name in names and each.feedback is not None and each.valid is not False
    ]  # fmt: skip
    people = [each for each in said if each.source.source_type == HUMAN]
    yield from people or said


def _outcome(said: Assessment, trace: str) -> dict[str, Any]:
    assert said.feedback is not None
    value = None if said.feedback.error else said.feedback.value
    word = str(value).strip().lower()
    if value is not None and word not in YES | NO:
        raise StorageError(
            f"MLflow trace {trace}, assessment {said.name!r} = {value!r}: expected true or false, yes or no, 1 or 0: "
            "name another one with --assessment, or mend it"
        )
    at = said.last_update_time_ms or said.create_time_ms
    return {
        "correct": None if value is None else word in YES,
        "label_source": f"mlflow {said.source.source_type.lower()}",
        **({"time": datetime.fromtimestamp(at / 1000, UTC).isoformat()} if at else {}),
    }


def _refusals() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0]


if __name__ == "__main__":
    serve(prepare, {"assessments": assessments})
