"""The real command line, in processes of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from features.errors import InputError
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
    assert all(f"  {name} " in done.stdout for name in ("anonymise", "evaluate", "plan", "route", "train", "tune"))


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
        (["--at", "yesterday"], ["--at", "'yesterday'", "%Y-%m-%d"]),
        (["--min-quality", "most"], ["'most' is not a valid float"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--split", "moon"], ["'moon'"]),
        (["--colour"], ["No such option"]),
    ],
)
def test_bad_option_is_refused(tmp_path: Path, tier_router: Run, options: list[str], told: list[str]) -> None:
    refused(tier_router("train", *options, cwd=tmp_path), *told)
    assert list(tmp_path.iterdir()) == []


def test_too_few_traces_are_refused(tmp_path: Path, tier_router: Run, generated: Generated, write: Write) -> None:
    path = write(tmp_path / "t.parquet", generated(60))
    refused(tier_router("train", "--traces", path, "--out", "new", cwd=tmp_path), "t.parquet", "at least 50 are needed")
    assert [each.name for each in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--max-cost", "-1"], "--max-cost -1.0: expected USD"),
        (["--pro-rate", "1.5"], "--pro-rate 1.5: expected a share"),
        (["--max-loss", "1"], "--max-loss 1: expected a share of the requests"),
        (["--confidence-level", "1"], "--confidence-level 1: expected a probability"),
        (["--config", "absent.toml"], "absent.toml: cannot be read"),
        (["--at", "2026-02-30"], "'2026-02-30' does not match"),
    ],
    ids=lambda each: each[0],
)
def test_wrong_aim_is_refused_before_anything_is_read(
    priced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str], told: str
) -> None:
    """In this process; that errors of ours exit with 2 is tested above."""
    monkeypatch.setattr("pipeline.recorder.recorder", lambda _: nullcontext())
    given = {"train": ["train", "--traces", "absent.csv"], "tune": ["tune", str(priced.folder)]}[command]
    found = CliRunner().invoke(cli.commands, [*given, *options])
    assert isinstance(found.exception, InputError | SystemExit)
    assert told in f"{found.exception} {found.stderr}"


OBJECTIVES = (["--min-quality", "0.9"], ["--max-cost", "1"], ["--total-cost"], ["--pro-rate", "0.3"])


@pytest.mark.parametrize(("one", "other"), list(combinations(OBJECTIVES, 2)), ids=lambda each: each[0])
def test_objectives_exclude_each_other(one: list[str], other: list[str]) -> None:
    found = CliRunner().invoke(cli.commands, ["train", *one, *other])
    assert found.exit_code == 2
    assert f"{one[0]} and {other[0]} exclude each other" in found.stderr


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, priced: Any, trained: Any) -> Path:
    """A folder with a copy of the version with prices, a store that has a champion, and settings beside it."""
    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(priced.folder, folder / "models" / "v1")
    shutil.copy(trained.out / "mlflow.db", folder / "models")
    (folder / "unknown.toml").write_text(
        '[tiers.flash]\nprice = "deepseek-flush"\n[tiers.pro]\nprice = "deepseek-v4-pro"\n'
    )
    (folder / "none.toml").write_text("")
    return folder


@pytest.fixture(scope="module")
def tuned(shop: Path, tier_router: Run) -> dict[str, Any]:
    """What `tier-router tune --json` says of a tuning that names neither an objective nor settings."""
    done = tier_router("tune", "models/v1", "--at", "2026-06-01", "--json", cwd=shop)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"steps": done.stderr.splitlines()}


def test_tune_says_as_json_what_it_made(tuned: dict[str, Any], shop: Path, trained: Any) -> None:
    assert set(tuned) - {"steps"} == set(trained.summary)
    assert {"operating_point", "certificate", "cost_unit", "mlflow"} <= set(tuned)
    assert tuned["version"] == "v2"
    assert all((shop / path).exists() for path in tuned["paths"].values())
    assert tuned["mlflow"]["alias"] == "challenger"
    assert tuned["steps"] == ["opening the version", "tuning", "evaluating", "exporting", "recording in MLflow"]


def test_tune_without_options_keeps_the_objective_and_the_settings(
    tuned: dict[str, Any], shop: Path, priced: Any
) -> None:
    manifest = json.loads((shop / "models" / "v2" / "manifest.json").read_text(encoding="utf-8"))
    for key in ("objective", "tariff", "threshold", "certificate"):
        assert manifest[key] == priced.manifest[key], key
    assert tuned["operating_point"] == priced.manifest["operating_point"]
    assert manifest["config"]["settings"] == priced.manifest["config"]["settings"]


def test_summary_of_a_training_holds_the_certificate_and_the_unit_of_cost(trained: Any) -> None:
    assert trained.summary["certificate"] == trained.manifest["certificate"]
    assert trained.summary["cost_unit"].startswith("relative units")
    assert trained.summary["operating_point"]["delivery"] == trained.summary["operating_point"]["cost"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--min-quality", "1.9"], ["--min-quality 1.9 cannot be reached", "ask for 1", "or less"]),
        (["--config", "unknown.toml"], ["'deepseek-flush'", "nearest: deepseek-flash"]),
    ],
    ids=lambda each: " ".join(each),
)
def test_tune_that_cannot_be_done_is_refused_and_leaves_no_version(
    tuned: dict[str, Any], shop: Path, tier_router: Run, options: list[str], told: list[str]
) -> None:
    before = {path.name for path in (shop / "models").iterdir()}
    refused(tier_router("tune", "models/v1", *options, cwd=shop), *told)
    assert {path.name for path in (shop / "models").iterdir()} == before


def test_tune_of_a_folder_that_is_no_version_is_refused(tmp_path: Path, tier_router: Run) -> None:
    refused(tier_router("tune", tmp_path, cwd=tmp_path), str(tmp_path), "not a version")
    assert list(tmp_path.iterdir()) == []


def test_evaluate_prices_with_the_version_s_settings_and_with_others(shop: Path, priced: Any) -> None:
    """Read in this process: the command itself is tested above."""
    asked = ["evaluate", str(priced.folder), "--traces", str(priced.traces), "--at", "2026-06-01", "--json"]
    own, other = (
        json.loads(CliRunner().invoke(cli.commands, [*asked, *more]).stdout)
        for more in ([], ["--config", str(shop / "none.toml")])
    )
    assert own["router"]["cost_per_1k_usd"]["value"] == pytest.approx(own["router"]["cost"]["value"])
    assert other["router"]["cost_per_1k_usd"] is None
    assert other["always_pro"]["cost"]["value"] == 12


@pytest.mark.parametrize("prompt", ["prove the integral lemma", "city river month"])
def test_dearer_wrong_answer_lowers_the_threshold_of_one_request(priced: Any, prompt: str) -> None:
    found = [
        json.loads(
            CliRunner()
            .invoke(cli.commands, ["route", str(priced.folder), prompt, "--wrong-answer", str(usd), "--json"])
            .stdout
        )
        for usd in (0.0005, 0.002, 0.5)
    ]
    flash, pro = priced.manifest["costs"]
    for decision, usd in zip(found, (0.0005, 0.002, 0.5), strict=True):
        assert decision["threshold"] == pytest.approx((pro - flash) / 1000 / usd)
        assert decision["threshold_from"] == f"{usd:g} USD a wrong answer, {priced.manifest['cost_unit']}"
        known = decision["evidence"] >= decision["evidence_floor"]
        assert (decision["tier"] == "pro") is (decision["gain"] >= decision["threshold"] or not known)


@pytest.mark.parametrize("usd", ["0", "-1", "nan", "inf"])
def test_cost_of_a_wrong_answer_out_of_its_range_is_refused(priced: Any, usd: str) -> None:
    found = CliRunner().invoke(cli.commands, ["route", str(priced.folder), "x", "--wrong-answer", usd])
    assert isinstance(found.exception, InputError)
    assert f"--wrong-answer {float(usd):g}" in str(found.exception)


def test_cost_of_a_wrong_answer_means_nothing_to_a_version_without_prices(trained: Any) -> None:
    found = CliRunner().invoke(cli.commands, ["route", str(trained.folder), "x", "--wrong-answer", "1"])
    assert isinstance(found.exception, InputError)
    assert "v1 knows no prices" in str(found.exception)
