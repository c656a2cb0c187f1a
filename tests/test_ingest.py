"""Decision logs and outcomes made into evidence: every decision once, the tier that did not answer not observed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingesting import FIRST, NOW, ingested, log_row, log_rows, outcomes_of, write_log, write_outcomes, written

from pipeline.console import BAD_INPUT, NOT_ENOUGH
from pipeline.ingest import lines
from pipeline.ingest.braces import NotPlainError, cut
from pipeline.ingest.ingest import ingest
from pipeline.ingest.layouts import LOG
from pipeline.ingest.lines import Block, chunk
from pipeline.ingest.logs import find
from pipeline.runtime.decider import Decider, Options
from pipeline.runtime.log_options import LogOptions
from pipeline.runtime.parquet_file import storable
from pipeline.traces import load

WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
PROMPTS = ("capital city river", "prove the theorem modulo 7", 'list a {colour} \\ "quoted" 7 % 3', "素数 prime")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("text", ["counts", "prompt"])
def test_decisions_of_a_service_become_traces_of_the_tier_that_answered(
    priced: Any, tmp_path: Path, form: str, text: str
) -> None:
    folder = tmp_path / "log"
    options = Options(explore=0.3, seed=1, log=LogOptions(folder, form, text))
    with Decider.open(priced.folder, options) as decider:
        made = [decider.decide(PROMPTS[at % 4] + f" {at}") for at in range(60)]
    said = [{"task_id": each.id, "correct": at % 2} for at, each in enumerate(made) if at % 5]
    found = ingest([folder], [write_outcomes(tmp_path / "o.csv", said)], tmp_path / "evidence.parquet")
    assert (found.rows, found.joined, found.waiting, found.usable) == (60, 48, 12, 60)
    traces = load([found.path], waiting=True)
    at = {task: place for place, task in enumerate(traces.task_id)}
    for number, each in enumerate(made):
        row, served = at[each.id], ("flash", "pro").index(each.tier)
        assert traces.propensity[row] == each.propensity
        assert traces.decided_by[row] == each.version
        assert traces.chosen[row] == traces.served[row] == served
        expected = [np.nan, np.nan]
        expected[served] = float(number % 2) if number % 5 else np.nan
        assert np.array_equal(traces.outcomes[row], expected, equal_nan=True)
        assert traces.tally.words[row] > 2
    assert len(load([found.path])) == 48


def test_lines_and_parquet_of_the_same_decisions_are_the_same_bytes(tmp_path: Path) -> None:
    rows = log_rows(50)
    rows[3]["words"] = {"{": 1, '"': 2, "\\": 3, "a,b": 1, ":1,": 4}
    rows[4]["words"] = {}
    outcomes = write_outcomes(tmp_path / "o.csv", outcomes_of(rows))
    digests = set()
    for form in ("jsonl", "parquet"):
        write_log(tmp_path / form, rows[:30], 1, form)
        write_log(tmp_path / form, rows[30:], 2, form)
        found = ingest([tmp_path / form], [outcomes], tmp_path / f"{form}.parquet", now=NOW)
        digests.add(found.sha256)
        assert written(found)[rows[3]["task_id"]]["words"] == rows[3]["words"]
    assert len(digests) == 1


def test_order_and_places_of_files_do_not_matter(tmp_path: Path) -> None:
    rows = log_rows(40)
    random.Random(0).shuffle(rows)
    one = ingested(tmp_path, rows, outcomes_of(log_rows(40)))
    for number in range(4):
        write_log(tmp_path / "other", rows[number::4], number)
    said = write_outcomes(tmp_path / "o.parquet", outcomes_of(log_rows(40))[::-1])
    other = ingest([tmp_path / "other"], [said], tmp_path / "other.parquet", now=NOW)
    assert one.sha256 == other.sha256
    assert [row["time"] for row in written(other).values()] == sorted(row["time"] for row in written(other).values())


def test_rows_of_many_row_groups_and_pieces_keep_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ingest.writing.ROWS_OF_GROUP", 7)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1000)
    rows = log_rows(100)
    random.Random(0).shuffle(rows)
    found = ingested(tmp_path, rows)
    assert pq.ParquetFile(found.path).num_row_groups == 15
    there = written(found)
    for row, said in zip(rows, outcomes_of(rows), strict=True):
        kept = there[row["task_id"]]
        assert {name: kept[name] for name in ("chosen", "words", "context_bytes")} == {
            name: row[name] for name in ("chosen", "words", "context_bytes")
        }
        assert kept[f"{row['served']}_correct"] is said["correct"]


def test_same_rows_in_two_files_stay_once(tmp_path: Path) -> None:
    rows = log_rows(20)
    write_log(tmp_path / "log", rows, 2)
    write_log(tmp_path / "log", [storable(row) | {"words": row["words"]} for row in rows[:5]], 3)
    found = ingested(tmp_path, rows)
    assert (found.rows, found.duplicates, found.logged_again) == (20, 25, 0)
    assert any("25 log rows stand twice" in note for note in found.notes())


def test_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", log_rows(5))
    assert find([tmp_path / "log", path, tmp_path / "log" / ".." / "log"]).files == (path,)


def test_of_a_decision_that_was_recorded_again_the_later_row_counts(tmp_path: Path) -> None:
    first = log_row(1)
    later = first | {"time": log_row(2)["time"], "served": "pro", "fallback": "time_out"}
    found = ingested(tmp_path, [later, first, log_row(3)], [])
    row = written(found)[first["task_id"]]
    assert (found.rows, found.logged_again, found.duplicates) == (2, 1, 0)
    assert (row["served"], row["propensity"], row["unusable"]) == ("pro", None, "another tier answered than was chosen")


def test_two_decisions_under_one_id_are_used_for_nothing(tmp_path: Path) -> None:
    twice = [log_row(1), log_row(1, propensity=0.5, time=log_row(2)["time"])]
    found = ingested(tmp_path, [*twice, log_row(3)], [])
    assert found.unusable == {"its id stands for two decisions": 1}
    assert written(found)[log_row(1)["task_id"]]["propensity"] is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reason": "context", "propensity": 1.0}, "a limit decided"),
        ({"reason": "error", "propensity": None}, "it was not scored"),
        ({"served": None, "status": "502"}, "no tier answered"),
        ({"served": "pro", "fallback": "time_out"}, "another tier answered than was chosen"),
        ({"fallback": "500", "escalated": "schema"}, "a fall-back or an escalation came between"),
        ({"propensity": None}, "its propensity is not known"),
        ({"words": None}, "its words are not known"),
    ],
)
def test_row_that_says_nothing_of_the_tiers_stays_and_has_no_propensity(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    found = ingested(tmp_path, [log_row(1, **changes), log_row(2), log_row(3)])
    row = written(found)[log_row(1)["task_id"]]
    assert (row["unusable"], row["propensity"]) == (why, None)
    assert found.unusable == {why: 1}
    assert (found.usable, found.usable_joined) == (2, 2)
    assert len(load([found.path], waiting=True)) == 3


def test_every_reason_of_a_decision_is_a_limit_a_failure_or_by_chance() -> None:
    from pipeline.ingest.usable import FAILED, LIMITS
    from pipeline.runtime.decision import REASONS

    assert set(REASONS) - {*LIMITS, *FAILED} == {"no_gain", "gain", "evidence", "explored"}


def test_open_files_are_read_up_to_their_last_whole_line(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    rows = log_rows(6)
    write_log(folder, rows[:2])
    for number, (form, some) in enumerate({"jsonl": rows[2:4], "parquet": rows[4:]}.items(), 2):
        made = map(storable, some) if form == "parquet" else some
        text = "".join(json.dumps(row) + "\n" for row in made)
        (folder / f".decisions-20260101T000000Z-7-{number}.{form}.open").write_text(text + '{"task_id": "half')
    found = ingest([folder], [], tmp_path / "evidence.parquet", now=NOW)
    assert {task: row["words"] for task, row in written(found).items()} == {
        row["task_id"]: row["words"] for row in rows
    }


def test_open_file_of_a_machine_that_lost_power_ends_at_its_first_nul(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", log_rows(2))
    path.with_name(f".{path.name}.open").write_bytes(path.read_bytes() + b"\0\0\n{}\n")
    path.unlink()
    assert ingest([tmp_path / "log"], [], tmp_path / "evidence.parquet", now=NOW).rows == 2


def test_open_file_that_is_finished_meanwhile_is_read(tmp_path: Path) -> None:
    from pipeline.ingest.logs import pieces

    path = write_log(tmp_path / "log", log_rows(2))
    assert len(list(pieces(path.with_name(f".{path.name}.open")))) == 1


def test_damaged_and_foreign_files_of_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for name in (".decisions-20260101T000000Z-7-9.parquet.damaged", "copy.jsonl"):
        (tmp_path / "log" / name).write_text("")
    notes = list(ingested(tmp_path, log_rows(3)).notes())
    assert [name for name in ("damaged", "copy.jsonl") if any(name in note for note in notes)] == [
        "damaged",
        "copy.jsonl",
    ]


def test_plain_lines_and_others_are_read_alike(tmp_path: Path) -> None:
    rows = [log_row(1), log_row(2), log_row(3, words={"a\\b": 1, "}": 2}), log_row(4, words=None, propensity=1)]
    plain = [json.dumps(row, separators=(",", ":")) for row in rows]
    odd = [json.dumps(row | {"turn_count": "1", "extra": [{}]}) for row in rows]
    read = [chunk(Block(tmp_path, 1, "\n".join(some).encode()), LOG) for some in (plain, odd)]
    assert all(read)
    for name in ("task_id", "time", "words", "propensity", "turn_count", "context_bytes"):
        one, other = (each.columns[name] for each in read if each)
        assert one.equals(other), name


@given(
    counts=st.lists(st.none() | st.dictionaries(WORD, st.integers(1, 10**7 - 1), max_size=5), min_size=1, max_size=6)
)
def test_word_counts_of_many_lines_are_those_of_each(counts: list[dict[str, int] | None]) -> None:
    rows = [{"a": 1} if each is None else {"a": 1, "words": each} for each in counts]
    made = [
        json.dumps(row, separators=(",", ":"), ensure_ascii=at % 2 == 0).encode() for at, row in enumerate(rows)
    ]  # fmt: skip
    without, found = cut(made)
    assert [json.loads(line) for line in without] == [{"a": 1}] * len(made)
    expected = [None if each is None else list(each.items()) for each in counts]
    assert (found.to_pylist() if found is not None else [None] * len(made)) == expected


@pytest.mark.parametrize(
    "inside",
    [
        '"a":', '"a":01', '"a":-1', '"a":1.5', '"a":"1"', '"a":1,', '"a" :1', '"a":1,"b"', "a:1", '"a":1}', '"a\tb":1',
        '"a":123456789', '"a":1"b":2', '"a":1 ,"b":2',
    ],
)  # fmt: skip
def test_word_counts_that_are_not_plain_are_left_to_json(inside: str) -> None:
    lines = [b'{"words":{"good":1}}', b'{"words":{' + inside.encode().replace(b"\\t", b"\t") + b"}}"]
    with pytest.raises(NotPlainError):
        cut(lines)


def test_words_within_something_else_are_not_those_of_the_row(tmp_path: Path) -> None:
    line = json.dumps(log_row(1, words=None) | {"extra": {"words": {"a": 1}}}, separators=(",", ":"))
    found = chunk(Block(tmp_path, 1, line.encode()), LOG)
    assert found is not None
    assert found.columns["words"].to_pylist() == [None]


def test_only_decisions_of_the_time_asked_for_are_taken(tmp_path: Path) -> None:
    found = ingested(
        tmp_path, log_rows(48), since=FIRST + timedelta(hours=24), until=FIRST + timedelta(hours=30)
    )  # fmt: skip
    assert (found.rows, found.outside, found.joined) == (6, 42, 6)
    assert found.first == FIRST + timedelta(hours=24)
    assert found.last == FIRST + timedelta(hours=29)
    assert not found.unknown


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_outcomes_of_every_format_say_the_same(tmp_path: Path, suffix: str) -> None:
    rows = log_rows(9)
    write_log(tmp_path / "log", rows)
    said = outcomes_of(rows)
    said[2]["correct"] = None
    outcomes = write_outcomes(tmp_path / f"o.{suffix}", [each | {"label_source": "people"} for each in said[:8]])
    found = ingest([tmp_path / "log"], [outcomes], tmp_path / "evidence.parquet", now=NOW)
    there = written(found)
    assert [there[row["task_id"]]["outcome"] for row in rows] == [
        "known", "known", "ungraded", *["known"] * 5, "waiting",
    ]  # fmt: skip
    assert there[rows[1]["task_id"]]["flash_correct"] is True
    assert there[rows[1]["task_id"]]["flash_label_source"] == "people"
    assert there[rows[1]["task_id"]].get("pro_correct") is None
    assert (found.joined, found.ungraded, found.waiting) == (7, 1, 1)


def test_first_of_two_outcomes_that_agree_names_the_source(tmp_path: Path) -> None:
    row = log_row(1)
    said = [{"task_id": row["task_id"], "correct": 1, "label_source": source} for source in ("judge", "people")]
    found = ingested(tmp_path, [row], said)
    assert (found.joined, found.repeated_outcomes) == (1, 1)
    assert written(found)[row["task_id"]]["flash_label_source"] == "judge"


def test_all_ungraded_is_no_error(tmp_path: Path) -> None:
    rows = log_rows(3)
    found = ingested(tmp_path, rows, [{"task_id": row["task_id"], "correct": None} for row in rows])
    assert (found.joined, found.ungraded, found.waiting) == (0, 3, 0)


def test_outcomes_as_the_labeller_writes_them_count_for_the_tier_that_answered(tmp_path: Path) -> None:
    rows = log_rows(3)  # pro, flash, flash
    said = [
        {"task_id": row["task_id"], "prompt": "x", "flash_correct": flash, "pro_correct": True,
         "flash_label_source": "graded", "pro_label_source": "judge"}
        for row, flash in zip(rows, (None, False, None), strict=True)
    ]  # fmt: skip
    found = ingested(tmp_path, rows, said)
    there = [written(found)[row["task_id"]] for row in rows]
    assert [row["outcome"] for row in there] == ["known", "known", "ungraded"]
    assert [(row["flash_correct"], row["pro_correct"]) for row in there] == [(None, True), (False, None), (None, None)]
    assert [row["flash_label_source"] for row in there] == [None, "graded", None]
    assert found.of_other_tier.count == 2
    assert found.ignored == ()


def test_outcome_of_the_tier_that_did_not_answer_is_left_out_and_named(tmp_path: Path) -> None:
    row = log_row(1)
    found = ingested(tmp_path, [row, log_row(2)], [{"task_id": row["task_id"], "tier": "pro", "correct": 1}])
    assert (found.joined, found.of_other_tier.first) == (0, (row["task_id"],))
    assert any("tier that did not answer" in note for note in found.notes())


def test_outcome_that_the_service_recorded_with_the_decision_counts(tmp_path: Path) -> None:
    found = ingested(tmp_path, [log_row(1, flash_correct=True), log_row(2)], [])
    assert (found.joined, found.waiting) == (1, 1)
    assert written(found)[log_row(1)["task_id"]]["flash_correct"] is True


def test_month_in_which_a_tier_never_answered_is_noted(tmp_path: Path) -> None:
    found = ingested(tmp_path, [log_row(number) for number in (1, 2, 4)])
    assert found.served == {"flash": 3, "pro": 0, "nobody": 0}
    assert "pro never answered: nothing is learned of it" in found.notes()


def test_command_prints_numbers_and_notes(tmp_path: Path, tier_router: Any) -> None:
    rows = log_rows(5)
    write_log(tmp_path / "log", rows)
    write_outcomes(tmp_path / "o.csv", outcomes_of(rows))
    command = ("ingest", "log", "--outcomes", "o.csv", "--until", "2026-01-01T04:00:00")
    done = tier_router(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "evidence.parquet: 4 decisions, 2026-01-01 00:00 to 2026-01-01 03:00 UTC" in done.stdout
    assert "note: 1 decisions are outside" in done.stderr
    plain = json.loads(tier_router(*command, "--json", cwd=tmp_path).stdout)
    assert (plain["rows"], plain["joined"], plain["served"]["pro"]) == (4, 4, 2)
    assert len(plain["sha256"]) == 64


def test_command_ends_apart_where_there_is_no_evidence_yet(tmp_path: Path, tier_router: Any) -> None:
    write_log(tmp_path / "log", log_rows(5))
    write_outcomes(tmp_path / "o.csv", [{"task_id": "other", "correct": 1}])
    done = tier_router("ingest", "log", "--outcomes", "o.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (NOT_ENOUGH, "")
    assert "not enough evidence: none of the outcomes is of a decision in the logs" in done.stderr
    write_outcomes(tmp_path / "o.csv", [{"task_id": "", "correct": 1}])
    assert tier_router("ingest", "log", "--outcomes", "o.csv", cwd=tmp_path).returncode == BAD_INPUT


def test_evidence_is_for_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    found = ingested(tmp_path, log_rows(3))
    assert found.path.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evidence.parquet", "log", "outcomes.jsonl"]


STALLED = """
import sys, time
from pathlib import Path
from pipeline.ingest import ingest, writing
from datetime import datetime
def stall(done):
    print("writing", flush=True)
    time.sleep(60)
def step(name):
    if name.startswith("writing"):
        stall(name)
ingest.ingest([Path("log")], [], Path("evidence.parquet"), step=step)
"""


def test_ingest_that_is_killed_leaves_the_file_of_before_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    before = ingested(tmp_path, log_rows(3)).sha256
    write_log(tmp_path / "log", log_rows(9))
    child = subprocess.Popen([sys.executable, "-c", STALLED], cwd=tmp_path, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child, child.stdout:
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    from pipeline.traces import digest

    assert digest([tmp_path / "evidence.parquet"]) == before
    assert ingested(tmp_path, log_rows(9)).rows == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evidence.parquet", "log", "outcomes.jsonl"]


def test_two_ingests_of_one_file_do_not_mix(tmp_path: Path) -> None:
    from features.errors import InputError
    from pipeline.ingest.spill import folder_for

    with folder_for(tmp_path / "evidence.parquet"), pytest.raises(InputError, match="another ingest"):
        ingested(tmp_path, log_rows(3))
    assert ingested(tmp_path, log_rows(3)).rows == 3
