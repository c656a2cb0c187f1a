"""Assessments of MLflow's traces as outcomes, from an embedded store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ingesting import log_rows, write_log, written

from features.errors import StorageError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.traced import Experiment

WAIT_SECONDS = 120
# In a process of its own, as MLflow's own threads and settings would stay in this one.
MADE = """
import json, logging, sys
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, Feedback, TraceInfo, TraceLocation, TraceState
from mlflow.entities.trace_location import TraceLocationType

store, traces = sys.argv[1], json.loads(sys.argv[2])
client = MlflowClient(f"sqlite:///{store}/mlflow.db")
experiment = client.create_experiment("service", artifact_location=f"file://{store}/artifacts")
for at, made in enumerate(traces):
    info = TraceInfo(
        trace_id=f"tr-{at:032x}", trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=1_767_225_600_000 + at * 60_000, state=TraceState.OK, client_request_id=made.get("id"),
        tags=made.get("tags", {}), trace_metadata={"mlflow.trace_schema.version": "3"},
    )
    client._tracing_client.start_trace(info)
    for name, value, kind in made.get("said", []):
        said = Feedback(name=name, value=value, source=AssessmentSource(source_type=kind, source_id="somebody"))
        said.trace_id = info.trace_id
        client._tracing_client.store.create_assessment(said)
"""


def made(store: Path, traces: list[dict[str, Any]]) -> Path:
    store.mkdir()
    subprocess.run(
        [sys.executable, "-c", MADE, str(store), json.dumps(traces)], check=True, timeout=WAIT_SECONDS,
        capture_output=True,
    )  # fmt: skip
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = [row["task_id"] for row in log_rows(8)]
    return made(
        tmp_path_factory.mktemp("mlflow") / "store",
        [
            {"id": ids[0], "said": [["correct", True, "HUMAN"]]},
            {"id": "session", "tags": {"tier_router.task_id": ids[1]}, "said": [["correctness", "no", "LLM_JUDGE"]]},
            {"id": ids[2], "said": [["correct", True, "LLM_JUDGE"], ["correct", False, "HUMAN"]]},
            {"id": ids[3], "said": [["correct", None, "CODE"]]},
            {"id": ids[4], "said": [["helpful", 0.7, "LLM_JUDGE"]]},
            {"said": [["correct", True, "HUMAN"]]},
            {"id": ids[6]},
        ],
    )


def test_assessments_are_joined_by_the_ids_of_decisions(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("pipeline.ingest.traced.TRACES_AT_ONCE", 2)
    rows = log_rows(8)  # pro, flash, flash, pro, ...
    write_log(tmp_path / "log", rows)
    found = ingest([tmp_path / "log"], [], tmp_path / "evidence.parquet", experiment=Experiment("service", store))
    there = [written(found)[row["task_id"]] for row in rows]
    assert [row["outcome"] for row in there] == ["known", "known", "known", "ungraded", *["waiting"] * 4]
    assert [there[0]["pro_correct"], there[1]["flash_correct"], there[2]["flash_correct"]] == [True, False, False]
    assert [there[1]["flash_label_source"], there[2]["flash_label_source"]] == ["mlflow llm_judge", "mlflow human"]
    assert any("7 traces, 4 assessments" in note for note in found.notes())
    assert any("1 traces of MLflow name no decision" in note for note in found.notes())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "other"}, "no experiment 'other'.*service"),
        ({"name": "service", "assessments": ("helpful",)}, "'helpful' = 0.7: expected true or false"),
    ],
)
def test_what_cannot_be_read_as_outcomes_is_said(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_log(tmp_path / "log", log_rows(8))
    with pytest.raises(StorageError, match=said):
        ingest(
            [tmp_path / "log"], [], tmp_path / "e.parquet", experiment=Experiment(store=store, **options)
        )  # fmt: skip
    assert not (tmp_path / "e.parquet").exists()


def test_store_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_log(tmp_path / "log", log_rows(2))
    with pytest.raises(StorageError, match="there is no such store"):
        ingest([tmp_path / "log"], [], tmp_path / "e.parquet", experiment=Experiment("x", tmp_path))
    assert not (tmp_path / "mlflow.db").exists()
