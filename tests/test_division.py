"""What a retune learns from, chooses by and is judged on: what was held out stays held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from conftest import write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from ingesting import NOW, Row, ingested, log_rows, outcomes_of, write_log, write_outcomes

from features.errors import EvidenceError, InputError
from pipeline import parts
from pipeline.retune import material
from pipeline.retune.division import Division, divide
from pipeline.retune.material import Material
from pipeline.settings import Retuning
from pipeline.traces import Traces

SEED = 0
BY_GROUP = parts.by_group(SEED)
LABELLED, LOGGED, AUDITED = "labelled", "logged", "audited"
BOTH, ONE, NONE = [1.0, 0.0], [1.0, np.nan], [np.nan, np.nan]
DAYS = 31.0
OLD, BEFORE, TODAY = 10, 200, 300


@dataclass(frozen=True)
class Made:
    """A row of traces: its group, what it is, the day of it in a year, and its outcomes."""

    group: str
    kind: str
    day: int = TODAY
    outcomes: Sequence[float] = ()

    @property
    def known(self) -> Sequence[float]:
        return self.outcomes or (ONE if self.kind == LOGGED else BOTH)


def of_part(part: str) -> tuple[str, str]:
    """Names of two groups that are of a part."""
    one, other, *_ = (name for name in (f"group-{at}" for at in range(100)) if parts.part_of(name, SEED) == part)
    return one, other


FIT, TUNE, TEST = (of_part(part) for part in parts.PARTS)


def traces_of(base: Traces, rows: Sequence[Made]) -> Traces:
    chosen = np.array([0 if row.kind == LOGGED else -1 for row in rows], np.int8)
    return replace(
        base.take(np.arange(len(rows))), outcomes=np.array([row.known for row in rows], float),
        group=np.array([row.group for row in rows], object),
        time=np.datetime64("2026-01-01", "us") + np.array([row.day for row in rows]) * np.timedelta64(1, "D"),
        chosen=chosen, served=chosen, propensity=np.where(chosen == 0, 0.9, np.nan),
    )  # fmt: skip


def divided(
    base: Traces, *rows: Made, rule: dict[str, object] = BY_GROUP, hold_out: bool = True
) -> Division:  # fmt: skip
    audit = np.array([row.kind == AUDITED for row in rows])
    return divide(traces_of(base, rows), audit, rule, DAYS, hold_out=hold_out)


def in_parts(found: Division, at: int) -> set[str]:
    """Names of all that a row is in, but for what is new."""
    return {name for name in ("fit", "asked", "judged", "tune", "test") if at in getattr(found, name)}


@pytest.mark.parametrize(("group", "part"), [(FIT[0], "fit"), (TUNE[0], "tune"), (TEST[0], "test")])
def test_labelled_task_is_of_its_part_alone_however_new(small_traces: Traces, group: str, part: str) -> None:
    found = divided(small_traces, Made("another", LOGGED), Made(group, LABELLED))
    assert in_parts(found, 1) == {part}


@pytest.mark.parametrize("group", [FIT[0], TUNE[0], TEST[0]])
def test_newest_audit_is_judged_on_and_nothing_else_of_its_groups_is_used(small_traces: Traces, group: str) -> None:
    others = [Made(group, LABELLED), Made(group, LOGGED, OLD), Made(group, LABELLED, OLD)]
    found = divided(small_traces, Made(group, AUDITED), *others, Made(group, LOGGED))
    assert in_parts(found, 0) == {"judged"}
    assert [in_parts(found, at) for at in (1, 2, 3)] == [set()] * 3
    assert in_parts(found, 4) == set()


def test_audit_is_judged_on_until_a_newer_one_comes_however_old_it_is(small_traces: Traces) -> None:
    rows = Made(FIT[0], LOGGED), Made(FIT[1], AUDITED, BEFORE)
    assert in_parts(divided(small_traces, *rows), 1) == {"judged"}
    found = divided(small_traces, *rows, Made(TUNE[0], AUDITED, TODAY))
    assert in_parts(found, 1) == {"fit"}
    assert in_parts(found, 2) == {"judged"}


def test_tasks_of_an_audit_that_took_weeks_are_of_one_audit(small_traces: Traces) -> None:
    found = divided(small_traces, *(Made(FIT[0], AUDITED, day) for day in (100, 130, 99)), Made(TEST[0], LOGGED))
    assert [in_parts(found, at) for at in (0, 1, 2)] == [{"judged"}, {"judged"}, set()]


def test_audited_row_that_keeps_what_the_log_said_of_it_is_no_logged_decision(small_traces: Traces) -> None:
    rows = Made(FIT[0], LOGGED, TODAY, BOTH), Made(TEST[0], LOGGED, BEFORE)
    found = divide(traces_of(small_traces, rows), np.array([True, False]), BY_GROUP, DAYS)
    assert [in_parts(found, at) for at in range(2)] == [{"judged"}, {"asked", "judged"}]


def test_audited_task_that_one_tier_alone_could_be_graded_of_is_in_no_part(small_traces: Traces) -> None:
    found = divided(small_traces, Made(FIT[0], AUDITED, outcomes=ONE), Made(FIT[1], LOGGED))
    assert in_parts(found, 0) == set()


@pytest.mark.parametrize(
    ("group", "day", "expected"),
    [
        (FIT[0], TODAY, {"fit"}),
        (FIT[0], OLD, {"fit"}),
        (TUNE[0], TODAY, {"fit"}),
        (TUNE[0], OLD, {"fit"}),
        (TEST[0], TODAY, {"asked", "judged"}),
        (TEST[0], OLD, set()),
    ],
)
def test_logged_decision_is_learned_from_unless_it_is_of_the_test_part(
    small_traces: Traces, group: str, day: int, expected: set[str]
) -> None:
    assert in_parts(divided(small_traces, Made(group, LOGGED, day), Made(FIT[1], LOGGED)), 0) == expected


def test_logged_decision_of_a_group_that_certifies_is_not_learned_from(small_traces: Traces) -> None:
    found = divided(small_traces, Made(TUNE[0], LOGGED), Made(TUNE[0], LABELLED, OLD), Made(TUNE[1], LOGGED))
    assert [in_parts(found, at) for at in range(3)] == [set(), {"tune"}, {"fit"}]


def test_without_a_certificate_all_of_which_both_outcomes_are_known_is_learned_from_too(small_traces: Traces) -> None:
    rows = [Made(group, LABELLED, OLD) for group in (*TUNE, *TEST)]
    rows += [Made(TUNE[0], LOGGED), Made(TEST[0], LOGGED), Made(TEST[1], LOGGED, OLD)]
    found = divided(small_traces, *rows, hold_out=False)
    assert [in_parts(found, at) for at in (0, 1)] == [{"fit", "tune"}] * 2
    assert [in_parts(found, at) for at in (2, 3)] == [{"test"}, {"fit", "test"}]  # the first's group is judged on
    assert [in_parts(found, at) for at in (4, 5, 6)] == [{"fit"}, {"asked", "judged"}, set()]


def test_logged_decision_of_the_tune_part_without_an_outcome_teaches_nothing(small_traces: Traces) -> None:
    assert in_parts(divided(small_traces, Made(TUNE[0], LOGGED, outcomes=NONE)), 0) == set()


def test_what_was_split_by_time_is_divided_by_group(small_traces: Traces) -> None:
    rows = [Made(group, LABELLED, OLD) for group in (*FIT, *TUNE, *TEST)]
    rows += [Made(f"new-{at}", LOGGED) for at in range(50)]
    cuts = parts.by_time(traces_of(small_traces, rows[:6]))
    found = divided(small_traces, *rows, rule=cuts)
    assert found.rule == parts.by_group(0)
    assert min(map(len, (found.fit, found.tune, found.test, found.judged))) > 0
    assert not {at for at in found.judged if rows[at].kind == LABELLED}
    assert divided(small_traces, *rows).rule == BY_GROUP


made_row = st.builds(
    Made, st.integers(0, 12).map("group-{}".format), st.sampled_from([LABELLED, LOGGED, AUDITED]),
    st.integers(0, 364), st.sampled_from([BOTH, ONE, NONE]),
)  # fmt: skip


@given(st.lists(made_row, min_size=1, max_size=60), st.booleans(), st.booleans())
@settings(max_examples=100)
def test_no_group_is_learned_from_and_judged_on_nor_certified_by(
    small_traces: Traces, rows: list[Made], by_time: bool, hold_out: bool
) -> None:
    rule = parts.by_time(traces_of(small_traces, rows)) if by_time else BY_GROUP
    found = divided(small_traces, *rows, rule=rule, hold_out=hold_out)
    fit, tune, test, judged = (
        {rows[at].group for at in getattr(found, name)} for name in ("fit", "tune", "test", "judged")
    )
    assert not fit & (tune | test | judged if hold_out else judged)
    assert not tune & (test | judged)
    assert not {rows[at].kind for at in found.judged} - {LOGGED, AUDITED}
    assert {rows[at].kind for at in found.asked} <= {LOGGED}
    assert all(rows[at].known == BOTH for at in (*found.tune, *found.test))
    assert set(found.asked) <= set(found.newest)


def read(tmp_path: Path, audits: Sequence[Row], labelled: Sequence[Row] = ()) -> Material:
    """What there is to go on, with logs of 30 decisions."""
    files = {"audit": audits, "traces": labelled}
    named = {name: write_rows(tmp_path / f"{name}.jsonl", rows) for name, rows in files.items() if rows}
    audit, traces = ((str(named[name]),) if name in named else () for name in files)
    options = Retuning(audit=audit, traces=traces)
    return material.read(options, ingested(tmp_path, log_rows(30)), lambda _: None)


def asked(name: str, **changes: object) -> Row:
    """A task that both tiers were asked."""
    return {
        "task_id": name, "time": NOW.isoformat(), "prompt": f"words of {name}", "flash_correct": 0, "pro_correct": 1,
    } | changes  # fmt: skip


def test_rows_of_the_audit_are_known_by_the_file_they_come_from(tmp_path: Path) -> None:
    found = read(tmp_path, [asked("one"), asked("two")], [asked("three")])
    assert sorted(found.traces.task_id[found.audit]) == ["one", "two"]
    assert found.audited == np.datetime64(NOW.replace(tzinfo=None), "us")


def test_without_an_audit_no_row_is_of_one(tmp_path: Path) -> None:
    found = read(tmp_path, [], [asked("one")])
    assert not found.audit.any()
    assert np.isnat(found.audited)


def test_audited_request_stands_in_the_place_of_its_log_row(tmp_path: Path) -> None:
    rows = log_rows(30)
    drawn = [asked(row["task_id"]) for row in rows[:9]]
    found = read(tmp_path, drawn)
    assert len(found.traces) == len(rows)
    assert found.audit.sum() == len(drawn)
    assert found.traces.chosen[found.audit].tolist() == [-1] * len(drawn)


def test_models_are_those_that_answer_now_where_each_tier_has_one(tmp_path: Path) -> None:
    before = [asked(f"task {at}", flash_model="older", pro_model="older too") for at in range(90)]
    assert read(tmp_path, [], before).traces.models == {"flash": "made-up", "pro": "made-up"}
    assert material.answering(tmp_path / "evidence.parquet", 31) == {"flash": "made-up", "pro": "made-up"}


def test_model_is_the_most_frequent_one_where_several_answer(tmp_path: Path) -> None:
    rows = [row | ({"flash_model": "new"} if at == 1 else {}) for at, row in enumerate(log_rows(30))]
    evidence = ingested(tmp_path, rows)
    assert material.answering(evidence.path, 31) == {"pro": "made-up"}
    assert material.read(Retuning(), evidence, lambda _: None).traces.models["flash"] == "made-up"


def test_audited_task_that_is_labelled_too_keeps_the_time_of_the_audit(tmp_path: Path) -> None:
    found = read(tmp_path, [asked("one")], [asked("one", time=None)])
    assert not np.isnat(found.traces.time[found.audit]).any()


def test_audited_task_without_a_time_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"audit\.jsonl, row 2, field 'time': empty.* \[retune\] traces"):
        read(tmp_path, [asked("one"), asked("two", time=None)])


def test_month_without_a_decision_is_too_little_evidence(tmp_path: Path) -> None:
    rows = log_rows(30)
    logs, said = write_log(tmp_path / "log", rows), write_outcomes(tmp_path / "outcomes.jsonl", outcomes_of(rows))
    options = Retuning(logs=(str(logs),), outcomes=(str(said),), out=str(tmp_path))
    last = datetime.fromisoformat(rows[-1]["time"])
    found = material.gather(options, lambda _: None, last + timedelta(days=31))
    assert (found.rows, [note for note in found.notes() if "is logging still on" in note]) == (30, [])
    with pytest.raises(
        EvidenceError, match=r"newest decision is 32 days old, of 2026-01-02.*raise \[retune\] newest_days"
    ):
        material.gather(options, lambda _: None, last + timedelta(days=32))


def test_where_nothing_is_held_out_all_tasks_with_both_outcomes_are_learned_from(small_traces: Traces) -> None:
    rows = [Made(group, LABELLED, OLD) for group in (TUNE[0], TEST[0])]
    rows += [Made(TUNE[0], LOGGED), Made(TEST[1], LABELLED, OLD), Made(TEST[1], LOGGED)]
    found = divide(traces_of(small_traces, rows), np.zeros(len(rows), np.bool_), BY_GROUP, DAYS, hold_out=False)
    expected = [{"fit", "tune"}, {"fit", "test"}, {"fit"}, {"test"}, {"asked", "judged"}]
    assert [in_parts(found, at) for at in range(len(rows))] == expected
