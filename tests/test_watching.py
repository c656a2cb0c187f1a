"""`tier-router watch`: what counts and what does not, an alarm, and the way back."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import write_rows
from shipping import another

from features.errors import ArtifactError, InputError, StorageError
from pipeline import pointer
from pipeline.alone import alone
from pipeline.guarantee import Claim
from pipeline.pointer import name_of
from pipeline.sequential import Bets, span
from pipeline.served import Served
from pipeline.ship import rollback, ship
from pipeline.traces import load
from pipeline.watching import ledger as ledgers
from pipeline.watching.commands import watch
from pipeline.watching.ledger import Account, Ledger
from pipeline.watching.look import BLIND, Look, counted, look
from pipeline.watching.rows import LEAST_CHANCE, REPEATED, UNDATED, UNEXPLORED, Rows

Run = Callable[..., subprocess.CompletedProcess[str]]
Row = dict[str, Any]
OTHER, UNKNOWN = "neither decided by this version nor audited", "not chosen by a chance that is known"
ROWS, EXPLORE = 300, 0.2
AFTER = "2099-01-01"  # the versions were made


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, priced: Any) -> list[Path]:
    """v1 and v2."""
    return [another(priced.folder, tmp_path_factory.mktemp("versions"), number) for number in (1, 2)]


@pytest.fixture
def dest(tmp_path: Path, versions: list[Path]) -> Path:
    """Serves v2, and v1 before."""
    for version in versions:
        ship(version, tmp_path / "dest")
    return tmp_path / "dest"


@pytest.fixture
def log(
    tmp_path: Path, versions: list[Path], generated: Callable[..., list[Row]], write: Callable[..., Path]
) -> Callable[..., Path]:
    """A file of decisions of v2 with outcomes: flash right at a rate, pro always; further columns overrule."""

    def written(name: str, flash_right: float, count: int = ROWS, seed: int = 1, **more: Any) -> Path:
        asked = [
            {key: row[key] for key in ("task_id", "time", "group", "prompt")} | {"pro_correct": True}
            for row in generated(count, seed)
        ]
        served, manifest = Served.open(versions[1])
        traces = load([write(tmp_path / "asked.jsonl", asked)])
        to_pro = served.run(served.texts(traces), traces.tally)["use_pro"]
        random, made = np.random.default_rng(seed), []
        for row, wanted in zip(asked, to_pro.tolist(), strict=True):
            explored = random.random() < EXPLORE
            tier = "pro" if wanted != explored else "flash"
            row |= {
                "task_id": f"{seed}-{row['task_id']}", "group": f"{seed}-{row['group']}",
                "decided_by": name_of(manifest), "chosen": tier, "served": tier,
                "propensity": EXPLORE if explored else 1 - EXPLORE, "pro_correct": True if tier == "pro" else None,
                "flash_correct": bool(random.random() < flash_right) if tier == "flash" else None,
            }  # fmt: skip
            made.append(row | more)
        return write(tmp_path / name, made)

    return written


@pytest.fixture
def audit(tmp_path: Path, generated: Callable[..., list[Row]], write: Callable[..., Path]) -> Callable[..., Path]:
    """A file of tasks that both tiers were asked: flash wrong, pro right."""

    def written(name: str, count: int, **more: Any) -> Path:
        keys = ("task_id", "group", "prompt")
        told = {"flash_correct": False, "pro_correct": True, "time": AFTER}
        return write(tmp_path / name, [{key: row[key] for key in keys} | told | more for row in generated(count, 5)])

    return written


def looked(dest: Path, *files: Path, audits: tuple[Path, ...] = (), **more: Any) -> Look:
    return look(dest, files, audits, None, dest.parent / "models", **more)


def state_of(dest: Path) -> Path:
    found = pointer.read(dest)
    assert found is not None
    return ledgers.place(dest.parent / "models", found.current)


def test_version_that_keeps_its_claim_raises_no_alarm(dest: Path, log: Callable[..., Path]) -> None:
    found = looked(dest, log("good.jsonl", 1.0))
    assert (found.alarm, found.new, found.left_out) == ("", ROWS, {})
    assert found.standing is not None
    assert found.standing.value > 0


def test_version_that_breaks_its_claim_raises_one(dest: Path, log: Callable[..., Path]) -> None:
    found = looked(dest, log("bad.jsonl", 0.2))
    assert found.alarm == "evidence"
    assert found.standing is not None
    assert found.standing.high < 0


def test_same_evidence_again_changes_nothing(dest: Path, log: Callable[..., Path]) -> None:
    path = log("good.jsonl", 0.9)
    first = looked(dest, path)
    before = state_of(dest).read_bytes()
    second = looked(dest, path)
    assert (second.new, second.left_out) == (0, {REPEATED: ROWS})
    assert second.ledger.evidence.bets == first.ledger.evidence.bets
    assert state_of(dest).read_bytes() == before


def test_growing_file_counts_what_is_new_and_ends_where_one_look_would(
    dest: Path, tmp_path: Path, log: Callable[..., Path], write: Callable[..., Path]
) -> None:
    path = log("all.jsonl", 0.9)
    rows = sorted(map(json.loads, path.read_text().splitlines()), key=lambda row: row["time"])
    looked(dest, write(tmp_path / "half.jsonl", rows[: ROWS // 2]))
    grown = looked(dest, path)
    state_of(dest).unlink()
    once = looked(dest, path)
    assert grown.new == ROWS - ROWS // 2
    assert grown.ledger.evidence.bets.wealth == pytest.approx(once.ledger.evidence.bets.wealth)
    assert grown.ledger.evidence.seen.tolist() == once.ledger.evidence.seen.tolist()


def test_outcome_that_arrives_later_counts_then(dest: Path, log: Callable[..., Path]) -> None:
    waiting = looked(dest, log("waiting.jsonl", 0.9, pro_correct=None, flash_correct=None))
    assert (waiting.new, waiting.left_out) == (0, {"outcome not known": ROWS})
    assert looked(dest, log("arrived.jsonl", 0.9)).new == ROWS


def test_group_counts_once_however_many_rows_it_has(dest: Path, log: Callable[..., Path]) -> None:
    found = looked(dest, log("one.jsonl", 0.0, group="the same"))
    assert (found.new, found.left_out, found.alarm) == (1, {REPEATED: ROWS - 1}, "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"decided_by": "v1-000000000000"}, OTHER),
        ({"propensity": None}, UNKNOWN),
        ({"served": None}, UNKNOWN),
        ({"propensity": 1.0}, UNEXPLORED),
    ],
)
def test_rows_that_say_nothing_of_the_version_are_left_out_and_named(
    dest: Path, log: Callable[..., Path], changes: Row, why: str
) -> None:
    found = looked(dest, log("odd.jsonl", 0.0, **changes))
    assert (found.new, found.left_out) == (0, {why: ROWS})
    assert (BLIND in found.notes) == (why == UNEXPLORED)


@pytest.mark.parametrize(("every", "kept"), [(2, 0), (150, ROWS - 2)])
def test_where_many_were_explored_too_rarely_none_of_the_others_counts_either(
    dest: Path, log: Callable[..., Path], every: int, kept: int
) -> None:
    path = log("rare.jsonl", 0.0)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[::every]:
        row["propensity"] = 1 - LEAST_CHANCE / 2
    write_rows(path, rows)
    found = looked(dest, path)
    assert (found.new, found.left_out.get(UNEXPLORED, 0)) == (kept, ROWS - kept)


def test_audits_alone_can_alarm_though_their_requests_were_counted_in_the_log(
    dest: Path, log: Callable[..., Path], audit: Callable[..., Path], tmp_path: Path, write: Callable[..., Path]
) -> None:
    good = log("good.jsonl", 1.0)
    looked(dest, good)
    rows = [json.loads(line) for line in good.read_text().splitlines()]
    keys = ("task_id", "group", "prompt")
    told = {"flash_correct": False, "pro_correct": True, "time": AFTER}
    both = write(tmp_path / "both.jsonl", [{key: row[key] for key in keys} | told for row in rows])
    found = looked(dest, audits=(both,))
    assert (found.alarm, found.new) == ("audits", 0)
    assert found.ledger.audits.bets.rows == ROWS


def test_audits_that_stand_among_the_evidence_count_before_the_log_of_their_requests(
    dest: Path, tmp_path: Path, log: Callable[..., Path], write: Callable[..., Path]
) -> None:
    logged = [json.loads(line) for line in log("log.jsonl", 0.9).read_text().splitlines()]
    told = {"flash_correct": True, "pro_correct": True, "time": AFTER}
    both = [{"task_id": f"audit of {row['task_id']}", "group": row["group"], "prompt": row["prompt"]} for row in logged]
    found = looked(dest, write(tmp_path / "together.jsonl", logged + [row | told for row in both]))
    assert (found.new, found.left_out) == (ROWS, {REPEATED: ROWS})
    assert found.ledger.least == 1.0  # no row of the log has counted


def test_audits_of_before_the_version_was_made_are_left_out(dest: Path, audit: Callable[..., Path]) -> None:
    found = looked(dest, audits=(audit("old.jsonl", 50, time="2020-01-01"),))
    assert (found.new, found.left_out) == (0, {"audited before the version was made": 50})


def test_audits_of_nobody_knows_when_are_left_out_and_the_remedy_is_said(
    dest: Path, audit: Callable[..., Path]
) -> None:
    found = looked(dest, audits=(audit("undated.jsonl", 50, time=None),))
    assert (found.new, found.left_out) == (0, {UNDATED: 50})
    assert "fill in the column 'time'" in UNDATED


def test_audits_come_before_the_log_of_the_same_requests() -> None:
    claim, groups = Claim("ratio", 0.9), np.array([7, 7, 8], np.uint64)
    fresh = Rows(np.array([1.0, 0.2, 0.3]), np.array([1.0, 0.1, 0.1]), np.array([1.0, 0.5, 0.5]), groups, {}, ())
    ledger, new, repeated = counted(Ledger("v1"), fresh, claim)
    assert (new, repeated, ledger.least) == (2, 1, 0.1)
    assert ledger.evidence.bets.total == pytest.approx(1.0 / span(claim, 1.0) + 0.5 * 0.3 / span(claim, 0.1))
    assert ledger.audits.bets.rows == 1


def test_no_later_row_is_bet_on_more_boldly_than_the_smallest_chance_allows() -> None:
    claim = Claim("ratio", 0.9)
    ledger, *_ = counted(
        Ledger("v1"), Rows(np.array([0.1]), np.array([0.01]), np.ones(1), np.array([1], np.uint64), {}, ()), claim
    )
    later = Rows(np.array([0.1]), np.array([0.5]), np.ones(1), np.array([2], np.uint64), {}, ())
    ledger, *_ = counted(ledger, later, claim)
    assert ledger.evidence.bets.scale == pytest.approx(2 / span(claim, 0.01))


def test_another_version_is_watched_anew_and_an_earlier_one_goes_on(dest: Path, log: Callable[..., Path]) -> None:
    path = log("bad.jsonl", 0.0)
    looked(dest, path)
    rollback(dest)
    other = looked(dest, path)
    assert (other.new, other.alarm, other.ledger.evidence.bets.rows) == (0, "", 0)


def test_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    bets = Bets().after(np.array([0.5, -0.25]), np.array([0.1, 0.2]))
    ledger = Ledger("v1", 0.02, Account(bets, ledgers.hashes(["a", "b"])))
    ledger = replace(ledger, evidence=Account(bets, np.sort(ledger.evidence.seen)))
    ledgers.write(tmp_path / "state.json", ledger)
    found = ledgers.read(tmp_path / "state.json", "v1")
    assert (found.least, found.evidence.bets, found.audits.bets) == (0.02, bets, Bets())
    assert found.evidence.seen.tolist() == ledger.evidence.seen.tolist()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace("{", "[", 1).replace("}", "]"),
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: text.replace('"rows": 300', '"rows": 299'),
        lambda text: text.replace('"seen": "', '"seen": "?'),
        lambda text: text.replace('"highest"', '"lowest"'),
        lambda text: text.replace('"least": 0.', '"least": 7.'),
        lambda text: text.replace('"squares": ', '"squares": NaN, "was": '),
    ],
)
def test_damaged_state_is_refused_with_the_remedy(
    dest: Path, log: Callable[..., Path], damage: Callable[[str], str]
) -> None:
    path = log("good.jsonl", 0.9)
    looked(dest, path)
    state = state_of(dest)
    before = state.read_text()
    state.write_text(damage(before))
    assert state.read_text() != before
    with pytest.raises(InputError, match=r"is damaged.*remove it to begin"):
        looked(dest, path)


def test_two_watches_at_once_do_not_count_the_same_rows(
    dest: Path, log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.alone.alone.__wrapped__.__defaults__", (0.0,))
    with alone(state_of(dest)), pytest.raises(StorageError, match="another command is at work"):
        looked(dest, log("good.jsonl", 0.9))


def test_version_that_claims_nothing_is_refused(tmp_path: Path, versions: list[Path], log: Callable[..., Path]) -> None:
    source = Path(shutil.copytree(versions[1], tmp_path / "source"))
    manifest = json.loads((source / "manifest.json").read_text())
    (source / "manifest.json").write_text(json.dumps(manifest | {"certificate": {"certified": False}}))
    ship(another(source, tmp_path, 9), tmp_path / "dest")
    with pytest.raises(ArtifactError, match="claims nothing"):
        looked(tmp_path / "dest", log("good.jsonl", 0.9))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`tier-router watch` in this process, without MLflow."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*words: object) -> Result:
        return CliRunner().invoke(watch, [*map(str, words), "--store", str(tmp_path / "models")])

    return run


def test_command_says_that_nothing_speaks_against_the_claim(
    dest: Path, log: Callable[..., Path], command: Callable[..., Result]
) -> None:
    done = command(dest, "--evidence", log("good.jsonl", 1.0))
    assert done.exit_code == 0
    assert "verdict: nothing speaks against the claim" in done.stdout
    assert f"{ROWS} requests are new" in done.stdout


def test_alarm_alone_leaves_what_is_served(
    dest: Path, log: Callable[..., Path], command: Callable[..., Result]
) -> None:
    before = pointer.read(dest)
    done = command(dest, "--evidence", log("bad.jsonl", 0.0), "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, pointer.read(dest)) == (12, before)
    assert (told["alarm_from"], told["rolled_back_to"], told["new"]) == ("evidence", None, ROWS)
    assert told["evidence"]["highest_log_wealth"] >= told["evidence"]["log_alarm"]


def test_alarm_goes_back_where_that_was_asked_for_and_is_noted_in_the_history(
    dest: Path, tmp_path: Path, log: Callable[..., Path], command: Callable[..., Result]
) -> None:
    words = (dest, "--evidence", log("bad.jsonl", 0.0), "--rollback")
    before = pointer.read(dest)
    assert before is not None
    done, now = command(*words), pointer.read(dest)
    assert now is not None
    assert (done.exit_code, now.current, now.earlier) == (12, before.earlier[0], ())
    assert f"rolled back to {now.current}" in done.stdout
    (row,) = (tmp_path / "models" / "HISTORY.md").read_text().splitlines()[4:]
    assert f"| rolled back | {before.current} | {now.current} | the watch:" in row
    assert (command(*words).exit_code, pointer.read(dest)) == (0, now)


def test_alarm_without_an_earlier_version_says_so(
    tmp_path: Path, versions: list[Path], log: Callable[..., Path], command: Callable[..., Result]
) -> None:
    dest = tmp_path / "only"
    ship(versions[1], dest)
    done = command(dest, "--evidence", log("bad.jsonl", 0.0), "--rollback")
    assert done.exit_code == 12
    assert "no version before it" in done.stdout
    assert not (tmp_path / "models" / "HISTORY.md").exists()


def test_never_certified_version_is_watched_and_that_is_said(
    tmp_path: Path, versions: list[Path], log: Callable[..., Path], command: Callable[..., Result]
) -> None:
    certified = json.loads((versions[1] / "manifest.json").read_text())["certificate"]["certified"]
    ship(versions[1], tmp_path / "dest")
    done = command(tmp_path / "dest", "--evidence", log("good.jsonl", 1.0))
    assert ("it was never certified, and is watched anyway" in done.stdout) is not certified


def test_exit_codes_of_the_real_command(dest: Path, log: Callable[..., Path], tier_router: Run, tmp_path: Path) -> None:
    before = pointer.read(dest)
    alarm = tier_router("watch", dest, "--evidence", log("bad.jsonl", 0.0), cwd=tmp_path)
    missing = tier_router("watch", dest, "--evidence", "missing.jsonl", cwd=tmp_path)
    assert (alarm.returncode, missing.returncode, missing.stdout) == (12, 2, "")
    assert "Traceback" not in alarm.stderr + missing.stderr
    assert pointer.read(dest) == before


def test_nothing_to_look_at_is_bad_input(dest: Path) -> None:
    with pytest.raises(InputError, match="nothing to look at"):
        looked(dest)


def test_rollback_leaves_a_version_alone_that_was_shipped_meanwhile(dest: Path) -> None:
    before = pointer.read(dest)
    with pytest.raises(InputError, match="nothing has changed"):
        rollback(dest, expected="v9-000000000000")
    assert pointer.read(dest) == before
