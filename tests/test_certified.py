"""What becomes of the guarantee after a retune."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_up import rows

from pipeline.evidence import Evidence
from pipeline.guarantee import Claim
from pipeline.retune import record
from pipeline.retune.certified import retested

CLAIM = Claim("ratio", 0.5)
AUDITS, LOGGED = 400, 50
LONG_AGO, NEWEST = np.datetime64("2026-01-01", "us"), np.datetime64("2026-03-01", "us")


def newest(audited_at: np.datetime64, groups: int = AUDITS) -> Evidence:
    """Audited tasks, all right by either tier, then logged decisions of flash."""
    asked = np.repeat([[True, True], [True, False]], [AUDITS, LOGGED], axis=0)
    seen = rows(
        np.where(asked, 1.0, np.nan),
        groups=np.concatenate([np.arange(AUDITS) % groups, AUDITS + np.arange(LOGGED)]),
        time=np.where(asked.all(1), audited_at, NEWEST),
    )
    empty = np.full(len(asked), "", object)
    return Evidence(seen, asked, np.where(asked, 1.0, np.nan), empty, empty)


def state(evidence: Evidence, *, moved: bool = False, drifted: bool = False) -> str:
    return retested(CLAIM, evidence, np.zeros(len(evidence), np.bool_), moved=moved, drifted=drifted).state


@pytest.mark.parametrize("moved", [True, False])
def test_claim_that_the_audit_shows_holds(moved: bool) -> None:
    assert state(newest(NEWEST), moved=moved) == "holds"
    assert state(newest(LONG_AGO), moved=moved) == "holds"


def test_audit_of_before_a_drift_shows_nothing_of_it() -> None:
    assert state(newest(NEWEST), drifted=True) == "holds"
    assert state(newest(LONG_AGO), drifted=True) == "lapsed"


@pytest.mark.parametrize(("changed", "expected"), [({"moved": True}, "lapsed"), ({}, "unchanged")])
def test_audit_of_few_groups_shows_nothing(changed: dict[str, bool], expected: str) -> None:
    assert state(newest(NEWEST, groups=3), **changed) == expected


def test_the_more_often_one_audit_is_looked_at_the_more_it_has_to_show() -> None:
    claim, evidence = Claim("ratio", 0.98), newest(NEWEST)
    to_pro = np.zeros(len(evidence), np.bool_)
    shown = [
        retested(claim, evidence, to_pro, moved=True, drifted=False, looks=looks).state == "holds"
        for looks in range(50)
    ]
    assert shown == sorted(shown, reverse=True)
    assert shown[0]
    assert not shown[-1]


def test_decisions_that_tested_by_the_same_audit_are_counted(tmp_path: Path) -> None:
    audits = {"a": "2026-01-01", "b": "2026-01-01", "c": "2026-04-01", "d": ""}
    for key, audited in audits.items():
        record.write(tmp_path, record.Decision(key * 64, "keep", "why", "v1-0", "", "2026-05-01", audited=audited))
    assert record.tested_by(tmp_path, "2026-01-01", "e" * 64) == 2
    assert record.tested_by(tmp_path, "2026-01-01", "a" * 64) == 1
    assert record.tested_by(tmp_path, "2026-07-01", "e" * 64) == 0
