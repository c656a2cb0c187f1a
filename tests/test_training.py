"""Training as a whole: what it leaves, that it repeats itself, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from features.errors import InputError, StorageError
from features.graph import FEATURES
from pipeline.config import Aim, Config
from pipeline.objective import Objective
from pipeline.train import train

Row = dict[str, Any]
Write = Callable[[Path, Sequence[Row]], Path]
Generated = Callable[..., list[Row]]
WAIT_SECONDS = 60
FILES = {"router.onnx", "scorer.onnx", "router.joblib", "manifest.json", "report.html", "held_out.parquet"}


def test_training_writes_a_whole_version(trained: Any) -> None:
    assert {path.name for path in trained.folder.iterdir()} == FILES
    assert set(trained.summary["paths"]) == FILES - {"router.joblib", "held_out.parquet"}
    assert all(Path(path).is_absolute() == trained.out.is_absolute() for path in trained.summary["paths"].values())


def test_training_twice_gives_the_same_coefficients(trained: Any, retrained: Any) -> None:
    one, other = (joblib.load(version.folder / "router.joblib") for version in (trained, retrained))
    assert all(
        np.array_equal(a, b) for a, b in zip(one["heads"].coefficients, other["heads"].coefficients, strict=True)
    )
    assert one["vocabulary"].words == other["vocabulary"].words
    assert np.array_equal(one["vocabulary"].weights, other["vocabulary"].weights)
    assert (trained.folder.name, retrained.folder.name) == ("v1", "v2")


def test_training_twice_gives_the_same_metrics(trained: Any, retrained: Any) -> None:
    for key in ("metrics", "baselines", "operating_point", "data", "parity"):
        assert trained.manifest[key] == retrained.manifest[key], key


def test_progress_is_plain_lines_when_not_on_a_terminal(trained: Any) -> None:
    steps = "reading traces, choosing the smoothing, fitting, tuning, evaluating, exporting, recording in MLflow"
    assert trained.stderr.splitlines() == steps.split(", ")


def test_manifest_says_what_it_must(trained: Any) -> None:
    manifest = trained.manifest
    must = (
        "schema version created_at git_commit tiers features threshold evidence_floor objective certificate metrics "
        "baselines data onnx libraries parity"
    )
    assert set(must.split()) <= set(manifest)
    assert manifest["features"] == list(FEATURES)
    assert manifest["parity"]["flipped"] == 0
    assert {"apgr", "cpt50", "cpt80", "aiq", "auroc", "brier", "ece", "accuracy", "pro_rate", "cost_per_1k_usd"} <= set(
        manifest["metrics"]["test"]
    )


def test_router_learned_what_the_generated_traces_hold(trained: Any) -> None:
    assert trained.manifest["metrics"]["test"]["apgr"]["low"] > 0.5
    assert (
        trained.manifest["baselines"]["oracle"]["apgr"]["value"] >= trained.manifest["metrics"]["test"]["apgr"]["value"]
    )


def test_interrupted_training_leaves_no_version(tmp_path: Path, trained: Any, environment: Any) -> None:
    command = [str(Path(sys.executable).with_name("tier-router")), "train", "--traces", str(trained.traces)]
    process = subprocess.Popen(
        [*command, "--out", "new"],
        cwd=tmp_path,
        env=environment(PYTHONFAULTHANDLER="1"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr.readline() == "reading traces\n"
        assert process.stderr.readline() == "choosing the smoothing\n"
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # makes faulthandler say where every thread stands
        pytest.fail(f"it still runs:\n{process.communicate(timeout=WAIT_SECONDS)[1]}")
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert not list(tmp_path.glob("new/*v[0-9]*"))


def without(rows: list[Row], name: str) -> list[Row]:
    return [{key: cell for key, cell in row.items() if key != name} for row in rows]


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (lambda rows: rows[:60], {}, "at least 50 are needed"),
        (lambda rows: without(rows, "pro_correct"), {}, "no trace has an outcome of pro"),
        (lambda rows: without(rows, "flash_correct"), {}, "no trace has an outcome of flash"),
        (lambda rows: [row | {"pro_correct": row["flash_correct"]} for row in rows], {}, "nothing to route"),
        (lambda rows: without(rows, "time"), {"split": "time"}, r"'task-0' has none.*split by group"),
        (lambda rows: rows, {"aim": Aim(Objective("min_quality", 1.9))}, r"1\.9 cannot be reached.*or less"),
    ],
    ids=["few rows", "no pro", "no flash", "identical tiers", "no times", "unreachable target"],
)
@pytest.mark.usefixtures("untracked")
def test_training_that_cannot_be_done_is_refused_and_leaves_nothing(
    tmp_path: Path, generated: Generated, write: Write, change: Any, options: dict[str, Any], told: str
) -> None:
    path = write(tmp_path / "t.jsonl", change(generated(400)))
    with pytest.raises(InputError, match=told):
        train(Config(traces=(path,), out=tmp_path / "new", **options))
    assert [each.name for each in tmp_path.iterdir()] == ["t.jsonl"]


@pytest.mark.parametrize("outcomes", [(None, False), (True, None), (False, True)], ids=str)
@pytest.mark.usefixtures("untracked")
def test_tier_that_never_differs_is_trained_around(
    tmp_path: Path, generated: Generated, write: Write, outcomes: tuple[bool | None, bool | None]
) -> None:
    names = ("flash_correct", "pro_correct")
    fixed = {name: value for name, value in zip(names, outcomes, strict=True) if value is not None}
    path = write(tmp_path / "t.jsonl", [row | fixed for row in generated(330)])
    done = train(Config(traces=(path,), out=tmp_path / "new"))
    warnings = json.loads((done.folder / "manifest.json").read_text(encoding="utf-8"))["warnings"]
    assert sum("on every trace of the fit part" in warning for warning in warnings) == len(fixed)


@pytest.mark.usefixtures("untracked")
def test_split_by_time_trains_on_the_oldest(tmp_path: Path, generated: Generated, write: Write) -> None:
    path = write(tmp_path / "t.parquet", generated(400))
    done = train(Config(traces=(path,), out=tmp_path, split="time"))
    assert done.manifest["data"]["split"]["by"] == "time"
    assert sum(done.manifest["data"]["split_sizes"].values()) == 400


@pytest.mark.usefixtures("untracked")
def test_out_that_is_a_file_is_named(tmp_path: Path, trained: Any) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(StorageError, match="taken"):
        train(Config(traces=(trained.traces,), out=tmp_path / "taken"))
