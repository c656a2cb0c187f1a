"""Assessments of MLflow's traces as a file of outcomes; `assessed` reads them, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.recorder import recorder

WORKER = "pipeline.ingest.assessed"
TRACES_AT_ONCE = 500
ASSESSMENTS = ("correct", "correctness")
# A trace may bear the time of another clock than its decision.
SLACK = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment whose traces were assessed.

    Attributes:
        name: of the experiment.
        store: folder of the embedded store; not used where MLFLOW_TRACKING_URI is set.
        assessments: names of those that say whether an answer is correct.
    """

    name: str
    store: Path = Path("models")
    assessments: tuple[str, ...] = ASSESSMENTS


@dataclass(frozen=True, slots=True)
class Traced:
    """Files of outcomes that were made of traces, and what there is to say of that."""

    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def assessments(
    experiment: Experiment, folder: Path, since: datetime | None, step: Callable[[str], object]
) -> Traced:  # fmt: skip
    """The assessments of an experiment's traces.

    Args:
        experiment: to read.
        folder: to write a file to.
        since: first moment of decisions whose outcomes are wanted; None: any.
        step: told what is being done.

    Raises:
        StorageError: the store cannot be used, or an assessment cannot be read as an outcome.
    """
    step("reading MLflow's traces")
    target = folder / "mlflow.jsonl"
    from_ms = int((since - SLACK).timestamp() * 1000) if since else 0
    wanted = {
        "experiment": experiment.name, "names": experiment.assessments, "from_ms": from_ms, "at_once": TRACES_AT_ONCE,
        "target": str(target),
    }  # fmt: skip
    with recorder(experiment.store, WORKER) as store:
        found = store.ask("assessments", json.dumps(wanted))
        store.leave()
    notes = [f"MLflow experiment {experiment.name!r}: {found['traces']:,} traces, {found['assessed']:,} assessments"]
    if found["nameless"]:
        notes.append(
            f"{found['nameless']:,} traces of MLflow name no decision: their client_request_id, or a tag "
            "tier_router.task_id, must be the id of the decision"
        )
    return Traced((target,), tuple(notes))
