"""The real command line, in processes of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.graph import FEATURES
from pipeline import cli

Run = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[[Path, Sequence[dict[str, Any]]], Path]
Generated = Callable[..., list[dict[str, Any]]]
POLICIES = ["always_flash", "always_pro", "router", "oracle"]


def refused(done: subprocess.CompletedProcess[str], *told: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert all(words in done.stderr for words in told), done.stderr


def test_evaluate_repeats_the_test_metrics_of_the_training(trained: Any, tier_router: Run) -> None:
    done = tier_router("evaluate", trained.folder, "--traces", trained.traces, "--json", cwd=trained.out)
    found = json.loads(done.stdout)
    assert list(found) == POLICIES
    kept = trained.manifest["metrics"]["test"]
    for name in ("accuracy", "pro_rate", "apgr", "quality", "brier"):
        assert found["router"][name] == pytest.approx(kept[name], abs=1e-5), name


def test_table_shows_whole_cells_when_not_on_a_terminal(trained: Any, tier_router: Run) -> None:
    done = tier_router("evaluate", trained.folder, "--traces", trained.traces, cwd=trained.out)
    assert done.returncode == 0
    assert "oracle" in done.stdout
    assert "…" not in done.stdout


def test_route_takes_a_prompt(trained: Any, tier_router: Run) -> None:
    done = tier_router("route", trained.folder, "prove the integral lemma", "--json", cwd=trained.out)
    decision = json.loads(done.stdout)
    assert decision["tier"] == ("pro" if decision["gain"] >= decision["threshold"] else "flash")
    assert decision["model"] == {"flash": "small-1", "pro": "large-1"}[decision["tier"]]
    assert list(decision["features"]) == list(FEATURES)
    assert set(decision["words"]) <= {"prove", "the", "integral", "lemma"}
    assert decision["words"]


def test_route_takes_a_payload_on_standard_input(trained: Any, tier_router: Run) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "prove the integral lemma"}]
    payload = json.dumps({"messages": messages, "tools": [{"name": "größe"}]})
    done = tier_router("route", trained.folder, "--json", cwd=trained.out, stdin=payload)
    features = json.loads(done.stdout)["features"]
    assert features["turn_count"] == pytest.approx(np.log1p(2))
    assert features["tool_count"] == pytest.approx(np.log1p(1))
    assert features["context_size"] == pytest.approx(np.log1p(9 + len('[{"name":"größe"}]'.encode())))


def test_route_says_why_in_words(trained: Any, tier_router: Run) -> None:
    done = tier_router("route", trained.folder, "city river", cwd=trained.out)
    assert done.stdout.split(":")[0] in {"flash", "pro"}
    assert all(name in done.stdout for name in (*FEATURES, "threshold", "evidence", "city"))


def test_image_goes_to_pro_for_its_modality(trained: Any, tier_router: Run) -> None:
    parts = [{"type": "text", "text": "city"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    payload = json.dumps({"messages": [{"role": "user", "content": parts}]})
    decision = json.loads(tier_router("route", trained.folder, "--json", cwd=trained.out, stdin=payload).stdout)
    assert (decision["tier"], decision["reason"]) == ("pro", "modality: image_url")


@pytest.mark.parametrize("stdin", ["{", "[]", '{"messages": []}'])
def test_payload_that_is_none_is_refused(trained: Any, tier_router: Run, stdin: str) -> None:
    refused(tier_router("route", trained.folder, cwd=trained.out, stdin=stdin), "error: ")


def test_folder_that_is_no_version_is_refused(tmp_path: Path, tier_router: Run) -> None:
    refused(tier_router("route", tmp_path, "x", cwd=tmp_path), str(tmp_path), "not a version")


def test_bad_trace_file_is_refused_and_nothing_is_left(tmp_path: Path, tier_router: Run, write: Write) -> None:
    rows = [{"prompt": "x", "flash_correct": 1}, {"prompt": "y", "flash_correct": "perhaps"}]
    path = write(tmp_path / "bad.csv", rows)
    refused(tier_router("train", "--traces", path, "--out", "new", cwd=tmp_path), "bad.csv", "row 3", "flash_correct")
    assert [each.name for each in tmp_path.iterdir()] == ["bad.csv"]


def test_help_lists_every_command(tmp_path: Path, tier_router: Run) -> None:
    done = tier_router("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in ("anonymise", "evaluate", "route", "train"))


@pytest.mark.parametrize("name", sorted(cli.commands.commands))
def test_every_command_explains_its_options(tmp_path: Path, tier_router: Run, name: str) -> None:
    done = tier_router(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    for parameter in cli.commands.commands[name].params:
        assert any(option in done.stdout for option in (*parameter.opts, parameter.metavar) if option) or (
            parameter.name.upper() in done.stdout
        )


def test_unknown_command_is_refused(tmp_path: Path, tier_router: Run) -> None:
    refused(tier_router("trane", cwd=tmp_path), "No such command")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--min-quality", "0"], ["--min-quality 0"]),
        (["--min-quality", "most"], ["'most' is not a valid float"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--split", "moon"], ["'moon'"]),
        (["--colour"], ["No such option"]),
        (["--traces", "absent.csv"], ["absent.csv", "cannot be read"]),
    ],
)
def test_bad_option_is_refused(tmp_path: Path, tier_router: Run, options: list[str], told: list[str]) -> None:
    refused(tier_router("train", *options, cwd=tmp_path), *told)
    assert list(tmp_path.iterdir()) == []


def test_too_few_traces_are_refused(tmp_path: Path, tier_router: Run, generated: Generated, write: Write) -> None:
    path = write(tmp_path / "t.parquet", generated(60))
    refused(tier_router("train", "--traces", path, "--out", "new", cwd=tmp_path), "t.parquet", "at least 50 are needed")
    assert [each.name for each in tmp_path.iterdir()] == ["t.parquet"]
