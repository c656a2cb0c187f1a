"""Bad logs and outcomes: each answered clearly, with its place, and the evidence of before untouched."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ingesting import FIRST, NOW, Row, ingested, log_row, log_rows, outcomes_of, write_log, write_outcomes, written

from features.errors import EvidenceError, InputError, StorageError, TraceError
from pipeline.ingest.ingest import ingest

BEFORE = b"the evidence of before"


def refusal(tmp_path: Path, rows: list[Row], outcomes: list[Row] | None = None, **options: Any) -> InputError:
    """What is said of them; the evidence of before stays."""
    (tmp_path / "evidence.parquet").write_bytes(BEFORE)
    with pytest.raises(InputError) as found:
        ingested(tmp_path, rows, outcomes, **options)
    assert (tmp_path / "evidence.parquet").read_bytes() == BEFORE
    assert not list(tmp_path.glob(".partial*"))
    return found.value


@pytest.mark.parametrize("propensity", [0, -0.5, float("nan"), 1.5, "x", True])
def test_propensity_that_is_none_is_refused_with_file_line_value_and_remedy(tmp_path: Path, propensity: Any) -> None:
    message = str(refusal(tmp_path, [*log_rows(4), log_row(4, propensity=propensity)]))
    assert "decisions-20260101T000000Z-7-1.jsonl, row 5, field 'propensity'" in message
    assert f"it holds {propensity!r}" in message
    assert "expected a number above 0 and at most 1" in message
    assert "where it is not known, leave it empty, and the row counts as traffic only" in message


@pytest.mark.parametrize("cell", ["x", 10**400], ids=["text", "huge"])
def test_amount_that_is_no_number_is_refused_in_our_words(tmp_path: Path, cell: Any) -> None:
    assert "field 'turn_count': expected a number; it holds" in str(refusal(tmp_path, [log_row(1, turn_count=cell)]))


@pytest.mark.parametrize("propensity", [0.0, -0.5, float("nan"), 1.5])
def test_propensity_that_is_none_is_refused_in_parquet_too(tmp_path: Path, propensity: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "log").mkdir()
    rows = [{**log_row(1), "words": "[]"}, {**log_row(2, propensity=propensity), "words": "[]"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log" / "decisions-20260101T000000Z-7-1.parquet")
    with pytest.raises(TraceError, match=r"row 2, field 'propensity'.* leave it empty"):
        ingest([tmp_path / "log"], [], tmp_path / "evidence.parquet", now=NOW)


@pytest.mark.parametrize("name", ["task_id", "time", "chosen"])
def test_row_without_what_every_row_has_is_refused(tmp_path: Path, name: str) -> None:
    message = str(refusal(tmp_path, [log_row(1), log_row(2, **{name: None})], []))
    assert f"row 2, field '{name}': empty" in message


def test_line_that_is_no_json_is_refused_with_its_number(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", log_rows(3))
    path.write_text(path.read_text() + "\n{half\n")
    with pytest.raises(TraceError, match="row 5: not a JSON object"):
        ingest([tmp_path / "log"], [], tmp_path / "evidence.parquet", now=NOW)


def test_places_count_on_over_the_pieces_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.ingest.lines.BLOCK_BYTES", 700)
    message = str(refusal(tmp_path, [*log_rows(20), log_row(20, propensity=0), *log_rows(5)]))
    assert "row 21, field 'propensity'" in message


def test_line_that_is_no_utf8_is_refused_with_its_number(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", log_rows(2))
    path.write_bytes(path.read_bytes() + json.dumps(log_row(3, note="?")).encode().replace(b"?", b"\xff") + b"\n")
    with pytest.raises(TraceError, match=r"row 3: byte .* not valid UTF-8"):
        ingest([tmp_path / "log"], [], tmp_path / "evidence.parquet", now=NOW)


def test_near_miss_of_a_column_of_outcomes_is_refused(tmp_path: Path) -> None:
    said = [{"task_id": log_row(1)["task_id"], "corect": 1, "correct": 1}]
    assert "'corect' looks like 'correct'" in str(refusal(tmp_path, log_rows(3), said))


def test_outcomes_without_an_id_or_an_outcome_are_refused(tmp_path: Path) -> None:
    assert "no column 'task_id'" in str(refusal(tmp_path, log_rows(3), [{"decision": "a", "correct": 1}]))
    lacking = str(refusal(tmp_path, log_rows(3), [{"task_id": "a", "grade": 1}]))
    assert "neither a column 'correct' nor 'flash_correct' nor 'pro_correct'" in lacking
    empty = str(refusal(tmp_path, log_rows(3), [{"task_id": "a", "correct": 1}, {"task_id": "", "correct": 1}]))
    assert "row 2, field 'task_id': empty" in empty


def test_outcome_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    said = [{"task_id": log_row(1)["task_id"], "correct": 0.7}]
    assert "outcomes.jsonl, row 1, field 'correct'" in str(refusal(tmp_path, log_rows(3), said))


def test_outcomes_of_unknown_decisions_are_counted_and_named(tmp_path: Path) -> None:
    rows = log_rows(5)
    said = [*outcomes_of(rows), *({"task_id": f"other-{at}", "correct": 1} for at in range(4))]
    found = ingested(tmp_path, rows, said)
    assert (found.joined, found.unknown.count) == (5, 4)
    assert any(
        "4 (other-0, other-1, other-2, ...) decisions have an outcome and are in no log" in note
        for note in found.notes()
    )


def test_outcomes_of_unknown_decisions_alone_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, log_rows(5), [{"task_id": "other", "correct": 1}])
    assert isinstance(error, EvidenceError)
    assert "'other' (" in str(error)
    assert "the decision's id" in str(error)


def test_two_outcomes_that_disagree_are_no_outcome(tmp_path: Path) -> None:
    rows = log_rows(150)
    said = outcomes_of(rows)
    found = ingested(tmp_path, rows, [*said, said[0], said[7] | {"correct": not said[7]["correct"]}])
    assert (found.joined, found.ungraded, found.repeated_outcomes) == (149, 1, 1)
    assert found.disagreeing.first == (rows[7]["task_id"],)
    assert any(rows[7]["task_id"] in note and "disagree" in note for note in found.notes())


def changed(said: Row, **changes: Any) -> Row:
    """The opposite outcome."""
    return said | {"correct": not said["correct"]} | changes


@pytest.mark.parametrize("correction_first", [False, True])
def test_later_of_two_outcomes_corrects_the_earlier_however_many_there_are(
    tmp_path: Path, correction_first: bool
) -> None:
    rows = log_rows(9)
    said = [each | {"label_source": "judge"} for each in outcomes_of(rows)]
    later = [changed(each, time=NOW.isoformat(), label_source="people") for each in said[:5]]
    found = ingested(tmp_path, rows, later + said if correction_first else said + later)
    assert (found.joined, found.corrected.count, found.disagreeing.count) == (9, 5, 0)
    assert any("5 (" in note and "of which the later one stands" in note for note in found.notes())
    row = written(found)[rows[1]["task_id"]]
    assert (row["flash_correct"], row["flash_label_source"]) == (not said[1]["correct"], "people")


def test_outcome_that_is_said_again_later_corrects_nothing(tmp_path: Path) -> None:
    rows = log_rows(3)
    said = outcomes_of(rows)
    again = said[0] | {"time": NOW.isoformat(), "label_source": "people"}
    found = ingested(tmp_path, rows, [said[0] | {"label_source": "judge"}, *said[1:], again])
    assert (found.corrected.count, found.repeated_outcomes) == (0, 1)
    assert written(found)[rows[0]["task_id"]]["pro_label_source"] == "judge"


@pytest.mark.parametrize("times", [(None, None), (None, NOW), (NOW, None), (NOW, NOW)])
def test_outcomes_disagree_where_no_time_says_which_is_the_later(tmp_path: Path, times: tuple[Any, Any]) -> None:
    rows = log_rows(150)
    said = outcomes_of(rows)
    one, other = (each and each.isoformat() for each in times)
    said[7]["time"] = one
    found = ingested(tmp_path, rows, [*said, changed(said[7], time=other)])
    assert (found.corrected.count, found.disagreeing.first) == (0, (rows[7]["task_id"],))


def test_outcome_without_a_time_disagrees_with_what_corrects_another(tmp_path: Path) -> None:
    rows = log_rows(150)
    said = outcomes_of(rows)
    said += [changed(said[7], time=NOW.isoformat()), said[7] | {"time": None}]
    assert ingested(tmp_path, rows, said).disagreeing.first == (rows[7]["task_id"],)


def test_ungraded_beside_an_outcome_is_no_disagreement(tmp_path: Path) -> None:
    rows = log_rows(3)
    said = outcomes_of(rows)
    assert ingested(tmp_path, rows, [said[0] | {"correct": None}, *said]).joined == 3


def test_many_outcomes_that_disagree_are_refused_with_both_places(tmp_path: Path) -> None:
    rows = log_rows(50)
    said = outcomes_of(rows)
    message = str(refusal(tmp_path, rows, [*said, said[7] | {"correct": not said[7]["correct"]}]))
    assert "outcomes.jsonl, row 8, field 'correct'" in message
    assert "outcomes.jsonl, row 51" in message
    assert "1 of 50 decisions" in message
    assert "the later stands" in message


def test_decision_of_the_future_is_refused(tmp_path: Path) -> None:
    message = str(refusal(tmp_path, log_rows(50), now=FIRST + timedelta(hours=20)))
    assert "row 46, field 'time': 2026-01-02 21:00:00 is to come" in message
    assert "the times of 5 rows" in message


def test_outcome_of_the_future_is_refused(tmp_path: Path) -> None:
    rows = log_rows(3)
    said = [each | {"time": (NOW + timedelta(days=2)).isoformat()} for each in outcomes_of(rows)]
    assert "outcomes.jsonl, row 1, field 'time'" in str(refusal(tmp_path, rows, said))


def test_outcome_that_is_older_than_its_decision_is_noted_and_used(tmp_path: Path) -> None:
    rows = log_rows(4)
    said = outcomes_of(rows)
    said[2]["time"] = (FIRST - timedelta(hours=2)).isoformat()
    said[3]["time"] = (FIRST + timedelta(hours=2, minutes=30)).isoformat()
    found = ingested(tmp_path, rows, said)
    assert found.joined == 4
    assert any(
        "outcomes.jsonl, row 3: the outcome was known at" in note and "of 1 outcomes" in note for note in found.notes()
    )


def test_time_of_a_log_that_jumps_back_is_noted_with_its_place(tmp_path: Path) -> None:
    rows = [log_row(0), log_row(30), log_row(4), log_row(29)]
    found = ingested(tmp_path, rows)
    assert found.rows == 4
    assert any("7-1.jsonl, row 3: the time jumps back" in note and "1 times" in note for note in found.notes())


@pytest.mark.parametrize("year", [1026, 2000, 2024])
def test_time_that_is_years_from_others_of_its_file_is_noted_wherever_it_stands(tmp_path: Path, year: int) -> None:
    write_log(tmp_path / "log", [log_row(1000 + at, time=f"{year}-01-01T00:00:00Z") for at in range(9)], 2)
    rows = [log_row(0, time=f"{year}-06-01T00:00:00Z"), *log_rows(9)[1:]]
    found = ingested(tmp_path, rows)
    assert found.rows == 18
    (note,) = (note for note in found.notes() if "more than a year from what is usual" in note)
    assert f"7-1.jsonl, row 1: the time {year}-06-01 00:00:00" in note
    assert "file, 2026-01-01 04:00:00; this is so of 1 rows" in note


def test_times_within_a_year_of_each_other_are_not_noted(tmp_path: Path) -> None:
    rows = [log_row(0, time="2025-01-02T00:00:00Z"), *log_rows(9)[1:]]
    assert not any("usual" in note for note in ingested(tmp_path, rows).notes())


def test_logs_that_have_ended_are_noted(tmp_path: Path) -> None:
    assert any(
        "the newest decision is 58 days old, of 2026-01-02 01:00 UTC: is logging still on" in note
        for note in ingested(tmp_path, log_rows(26)).notes()
    )


@pytest.mark.parametrize("options", [{"newest_days": 60.0}, {"now": FIRST + timedelta(days=31)}, {"until": NOW}])
def test_logs_that_go_on_or_whose_end_was_asked_for_are_not_noted(tmp_path: Path, options: dict[str, Any]) -> None:
    assert not any("is logging still on" in note for note in ingested(tmp_path, log_rows(26), **options).notes())


def test_files_that_follow_each_other_with_older_times_are_not_noted(tmp_path: Path) -> None:
    write_log(tmp_path / "log", [log_row(0)], 2)
    found = ingested(tmp_path, [log_row(100)])
    assert not any("jumps back" in note for note in found.notes())


@pytest.mark.parametrize("rows", [[], log_rows(3)])
def test_time_without_a_decision_is_too_little_evidence(tmp_path: Path, rows: list[Row]) -> None:
    error = refusal(tmp_path, rows, [], since=FIRST + timedelta(days=9), until=FIRST + timedelta(days=10))
    assert isinstance(error, EvidenceError)
    assert "there is no decision since 2026-01-10 00:00 until 2026-01-11 00:00" in str(error)


def test_empty_logs_with_outcomes_are_too_little_evidence(tmp_path: Path) -> None:
    assert "there is no decision in the logs" in str(refusal(tmp_path, [], [{"task_id": "a", "correct": 1}]))


def test_times_that_are_swapped_are_refused(tmp_path: Path) -> None:
    assert "swap them" in str(refusal(tmp_path, log_rows(3), since=NOW, until=FIRST))


def test_logs_without_words_are_noted(tmp_path: Path) -> None:
    found = ingested(tmp_path, [{name: cell for name, cell in log_row(1).items() if name != "words"}])
    assert found.usable == 0
    assert any("no decision has words" in note for note in found.notes())


@pytest.mark.parametrize(
    ("place", "said"),
    [("nowhere", "no such file"), ("notes.txt", "expected a folder"), ("empty", "there is no decision log in it")],
)
def test_place_without_a_log_is_refused(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=said):
        ingest([tmp_path / place], [], tmp_path / "evidence.parquet")


def test_target_that_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path / "log", log_rows(3))
    with pytest.raises(InputError, match=r"ends in \.parquet"):
        ingest([tmp_path / "log"], [], tmp_path / "evidence.csv")


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_log(tmp_path / "log", log_rows(3))
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        ingest([tmp_path / "log"], [], tmp_path / "file" / "evidence.parquet", now=NOW)


def test_missing_file_of_outcomes_is_named(tmp_path: Path) -> None:
    write_log(tmp_path / "log", log_rows(3))
    with pytest.raises(TraceError, match=r"none\.csv"):
        ingest([tmp_path / "log"], [tmp_path / "none.csv"], tmp_path / "evidence.parquet", now=NOW)


def test_empty_file_of_outcomes_is_no_error(tmp_path: Path) -> None:
    write_log(tmp_path / "log", log_rows(3))
    said = write_outcomes(tmp_path / "o.csv", [{"task_id": "", "correct": ""}])
    said.write_text("task_id,correct\n")
    assert ingest([tmp_path / "log"], [said], tmp_path / "evidence.parquet", now=NOW).waiting == 3


NO_PATTERN = r"correct the name; .* no \* or \? in it is a pattern"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out*.csv", rf"out\*\.csv: there is no such file: {NO_PATTERN}"),
        ("", "a folder: name the files of outcomes in it"),
    ],
)
def test_outcomes_that_are_not_there_or_a_folder_are_named_with_a_remedy(tmp_path: Path, name: str, said: str) -> None:
    logs = write_log(tmp_path, log_rows(3))
    with pytest.raises(TraceError, match=said):
        ingest([logs], [tmp_path / name], tmp_path / "evidence.parquet", now=NOW)


def test_pattern_in_the_place_of_logs_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"\*\.jsonl: there is no such file or folder: {NO_PATTERN}"):
        ingest([tmp_path / "*.jsonl"], [], tmp_path / "evidence.parquet", now=NOW)


@pytest.mark.parametrize("outcomes", [False, True])
def test_place_that_nobody_can_look_at_is_bad_input(tmp_path: Path, outcomes: bool) -> None:
    long = tmp_path / ("x" * 300 + ".jsonl")  # as where a folder on the way has no permission, which root does not mind
    with pytest.raises(InputError, match=r"xxx\.jsonl: cannot be read: File name too long"):
        ingest([write_log(tmp_path, log_rows(3)) if outcomes else long], [long], tmp_path / "e.parquet", now=NOW)
