"""The demo: the whole loop on simulated tiers, by the commands themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import demo
from pipeline.simulate import kinds

TASKS = 600
START = "from pipeline.cli import main; main()"
WAIT_SECONDS = 300


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, project: Path) -> tuple[Path, str]:
    """The folder of a small demo, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-P", "-c", START, "demo", "--tasks", str(TASKS), "--out", str(folder)],
        cwd=project, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_every_command_of_the_loop_is_shown_as_it_can_be_typed(shown: tuple[Path, str]) -> None:
    lines = [line for line in shown[1].splitlines() if line.startswith("$ ")]
    assert [line.split()[2] for line in lines] == ["collect", "grade", "label", "train", "tune"]


def test_every_answer_is_graded_as_the_simulation_drew_it(shown: tuple[Path, str]) -> None:
    traces = {row["task_id"]: row for row in pq.read_table(shown[0] / "traces.parquet").to_pylist()}
    assert len(traces) == TASKS
    for task in kinds.tasks(TASKS, 0):
        row = traces[task.id]
        assert (row["flash_correct"], row["pro_correct"]) == (task.right("flash"), task.right("pro")), task.id


def test_all_that_is_made_says_that_it_is_simulated(shown: tuple[Path, str]) -> None:
    folder, said = shown
    rows = pq.read_table(folder / "traces.parquet").to_pylist()
    assert all(row["flash_model"].startswith("simulated-") for row in rows)
    assert all(row["pro_label_source"].startswith("simulated: ") for row in rows)
    for version in ("v1", "v2"):
        manifest = json.loads((folder / version / "manifest.json").read_text())
        assert manifest["data"]["simulated"]
        assert any("simulated" in warning for warning in manifest["warnings"])
        assert "answers of simulated models" in (folder / version / "report.html").read_text()
    assert "simulated" in said.splitlines()[0]


def test_decisions_are_told_beside_the_best_that_any_router_could_reach(shown: tuple[Path, str]) -> None:
    found = json.loads((shown[0] / "demo.json").read_text())
    assert 0.5 < found["apgr"] <= found["best_apgr"] + 0.01
    assert found["always_flash"] < found["accuracy"] <= found["always_pro"] + 0.02
    assert "100 decisions on fresh simulated tasks" in shown[1]


def test_ranking_by_the_true_gain_is_the_best_there_is() -> None:
    chances = np.array([kinds.task(5, number).chances for number in range(2_000)])

    class Knowing:
        def run(self, _: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            at = inputs["turn_count"]
            return [chances[at, 1] - chances[at, 0]]

    numbered = [demo.Request("?", turn_count=number) for number in range(2_000)]
    best = demo.ranked(Knowing(), numbered, chances)
    shuffled = demo.ranked(Knowing(), numbered[::-1], chances)
    assert best > 0.75
    assert abs(shuffled - 0.5) < 0.1
