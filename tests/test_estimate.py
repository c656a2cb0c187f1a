"""What other policies would have got, by the command that says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from conftest import write_rows
from production import log, outcomes, requests

from features.errors import EvidenceError
from pipeline import cli
from pipeline.ingest.ingest import ingest
from pipeline.pointer import name_of

MADE_LATER = "was made later than"


def evidence(version: Path, folder: Path, *, begin: datetime, explore: float = 0.1) -> Path:
    """Half a day of decisions of a version with most of their outcomes."""
    rows = requests(600, 4)
    logged = log(folder / "logs", version, rows, explore=explore, begin=begin, days=0.5)
    said = outcomes(folder / "outcomes.jsonl", rows, logged, arrive=0.9)
    return ingest([folder / "logs"], [said], folder / "evidence.parquet").path


def estimated(version: Path, *options: str) -> Result:
    return CliRunner().invoke(cli.commands, ["estimate", str(version), *options])


def test_versions_made_after_the_requests_are_named_for_they_may_know_the_answers(priced: Any, tmp_path: Path) -> None:
    before = evidence(priced.folder, tmp_path, begin=datetime.now(UTC) - timedelta(days=10))
    done = estimated(priced.folder, "--traces", str(before))
    assert done.exit_code == 0
    assert f"note: {name_of(priced.manifest)} {MADE_LATER} 600 of these 600 requests were asked" in done.stderr


def test_version_that_was_there_before_the_requests_is_not(priced: Any, tmp_path: Path) -> None:
    after = evidence(priced.folder, tmp_path, begin=datetime.now(UTC) + timedelta(minutes=1))
    assert MADE_LATER not in estimated(priced.folder, "--traces", str(after)).stderr


def test_what_is_printed_is_json_even_of_what_is_known_for_certain(priced: Any, tmp_path: Path) -> None:
    def refused(name: str) -> None:
        raise ValueError(name)

    always_right = write_rows(tmp_path / "audit.jsonl", [row | {"pro_correct": True} for row in requests(200, 4)])
    done = estimated(priced.folder, "--traces", str(always_right), "--threshold", "0.2", "--json")
    found = json.loads(done.stdout, parse_constant=refused)
    assert [each["name"] for each in found] == ["always flash", "always pro", "as served", "threshold +0.2000"]
    assert (found[1]["accuracy"]["value"], found[1]["accuracy"]["freedom"]) == (1.0, None)


def test_evidence_that_says_nothing_of_the_tiers_is_bad_input(priced: Any, tmp_path: Path) -> None:
    rows = requests(50, 4)
    log(tmp_path / "logs", priced.folder, rows, explore=0.0, begin=datetime.now(UTC) - timedelta(days=1), days=0.5)
    path = next((tmp_path / "logs").iterdir())
    lines = [json.loads(line) | {"propensity": None} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = ingest([tmp_path / "logs"], [], tmp_path / "evidence.parquet").path
    done = estimated(priced.folder, "--traces", str(found))
    assert isinstance(done.exception, EvidenceError)
    assert "no row says anything about the tiers" in str(done.exception)
