"""Trace files: every bad input is refused with its file, row and field and with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import TraceError
from pipeline.reading import LARGEST_LINE_BYTES
from pipeline.schema import LARGEST_PROMPT_BYTES
from pipeline.traces import load

Row = dict[str, Any]
Write = Callable[[Path, Sequence[Row]], Path]
GOOD = {"task_id": "a", "prompt": "one two", "flash_correct": 1, "pro_correct": 0}
FORMATS = ("jsonl", "csv", "parquet")
every_format = pytest.mark.parametrize("suffix", FORMATS)


def refusal(*paths: Path) -> str:
    with pytest.raises(TraceError) as found:
        load(paths)
    message = str(found.value)
    assert any(str(path) in message for path in paths)
    return message


def place(suffix: str, row: int) -> str:
    """How a complaint names a row: by its number, or by its line after the header."""
    return f"row {row + 1 if suffix == 'csv' else row}"


@pytest.mark.parametrize(
    ("field", "bad", "remedy"),
    [
        ("flash_correct", "maybe", "expected 1, 0, true, false or null"),
        ("pro_correct", "2", "expected 1, 0, true, false or null"),
        ("flash_correct", "0.9999999", "expected 1, 0, true, false or null"),
        ("tool_count", "-1", "0 or more"),
        ("turn_count", "1.5", "whole number"),
        ("context_bytes", "NaN", "finite number"),
        ("context_bytes", "1e400", "finite number"),
        ("flash_latency_s", "-0.5", "0 or more"),
        ("propensity", "1.5", "above 0 and at most 1"),
        ("chosen", "medium", "flash or pro"),
        ("time", "yesterday", "expected ISO 8601"),
        ("tools", '{"name": "x"}', "list of tool definitions"),
        ("tools", "[", "JSON|Expecting"),
        ("prompt", "\0\0\0", "NUL"),
    ],
)
@every_format
def test_bad_text_cell_is_refused_with_row_field_and_remedy(
    tmp_path: Path, write: Write, suffix: str, field: str, bad: str, remedy: str
) -> None:
    if suffix == "csv" and "\0" in bad:
        suffix = "jsonl"
    rows = [{**GOOD, "task_id": str(at), "flash_correct": "1", "pro_correct": "0"} for at in range(3)]
    good = {"tools": "[]", "time": "2026-01-01", "prompt": "x", "chosen": "pro"}.get(field, "1")
    message = refusal(
        write(tmp_path / f"t.{suffix}", [row | {field: bad if at == 1 else good} for at, row in enumerate(rows)])
    )
    assert place(suffix, 2) in message
    assert field in message
    assert any(word in message for word in remedy.split("|"))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("field", "bad"), [("tool_count", -1), ("tool_count", 2.5), ("context_bytes", float("nan")),
                       ("flash_correct", 2), ("pro_correct", 0.5), ("flash_cost_usd", float("inf")),
                       ("flash_correct", 0.9999999)],
)  # fmt: skip
def test_bad_number_is_refused_with_row_and_field(
    tmp_path: Path, write: Write, suffix: str, field: str, bad: float
) -> None:
    rows = [GOOD | {"task_id": str(at), field: bad if at == 1 else type(bad)(1)} for at in range(2)]
    message = refusal(write(tmp_path / f"t.{suffix}", rows))
    assert "row 2" in message
    assert field in message


@every_format
@pytest.mark.parametrize("missing", [("prompt",), ("flash_correct", "pro_correct")])
def test_missing_columns_are_named(tmp_path: Path, write: Write, suffix: str, missing: tuple[str, ...]) -> None:
    message = refusal(write(tmp_path / f"t.{suffix}", [{k: v for k, v in GOOD.items() if k not in missing}]))
    assert all(name in message for name in missing)
    assert "task_id" in message


@every_format
@pytest.mark.parametrize(
    ("name", "meant"), [("flash_corect", "flash_correct"), ("Prompt", "prompt"), ("taskid", "task_id"),
                        ("pro correct", "pro_correct"), ("turn_counts", "turn_count")],
)  # fmt: skip
def test_near_miss_of_a_column_name_is_refused(
    tmp_path: Path, write: Write, suffix: str, name: str, meant: str
) -> None:
    message = refusal(write(tmp_path / f"t.{suffix}", [GOOD | {name: "1"}]))
    assert f"'{name}'" in message
    assert f"'{meant}'" in message


@every_format
def test_unknown_columns_are_listed_and_ignored(tmp_path: Path, write: Write, suffix: str) -> None:
    assert load([write(tmp_path / f"t.{suffix}", [GOOD | {"colour": "red"}])]).ignored == ("colour",)


@every_format
def test_duplicate_task_with_other_outcomes_is_refused(tmp_path: Path, write: Write, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", [GOOD, GOOD | {"task_id": "b"}, GOOD | {"pro_correct": 1}])
    message = refusal(path)
    assert place(suffix, 3) in message
    assert place(suffix, 1) in message
    assert "task_id" in message


@every_format
def test_duplicate_task_with_the_same_outcomes_is_counted_once(tmp_path: Path, write: Write, suffix: str) -> None:
    traces = load([write(tmp_path / f"t.{suffix}", [GOOD, GOOD, GOOD | {"task_id": "b"}])])
    assert (traces.task_id.tolist(), traces.repeated) == (["a", "b"], 1)


@every_format
def test_row_without_any_outcome_is_refused(tmp_path: Path, write: Write, suffix: str) -> None:
    rows = [GOOD, GOOD | {"task_id": "b", "flash_correct": None, "pro_correct": None}]
    message = refusal(write(tmp_path / f"t.{suffix}", rows))
    assert place(suffix, 2) in message
    assert "flash_correct and pro_correct" in message


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_row_without_prompt_and_words_is_refused(tmp_path: Path, write: Write, suffix: str) -> None:
    message = refusal(write(tmp_path / f"t.{suffix}", [GOOD, GOOD | {"task_id": "b", "prompt": None}]))
    assert "row 2" in message
    assert "'prompt'" in message


@every_format
def test_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (path := tmp_path / f"t.{suffix}").touch()
    refusal(path)


def test_file_with_columns_and_no_rows_is_refused(tmp_path: Path) -> None:
    csv, parquet = tmp_path / "t.csv", tmp_path / "t.parquet"
    csv.write_text("prompt,flash_correct\n")
    pq.write_table(pa.table({"prompt": pa.array([], pa.string()), "flash_correct": pa.array([], pa.bool_())}), parquet)
    assert "no rows" in refusal(csv)
    assert "no rows" in refusal(parquet)


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_broken_parquet_is_refused(tmp_path: Path, write: Write, keep: float) -> None:
    path = write(tmp_path / "t.parquet", [GOOD | {"task_id": str(at)} for at in range(50)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    assert "export it again" in refusal(path)


def test_parquet_with_damaged_pages_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "t.parquet", [GOOD | {"task_id": str(at), "prompt": f"p {at}"} for at in range(2000)])
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 6000 + whole[6004:])
    refusal(path)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_invalid_utf8_is_refused_with_its_row(tmp_path: Path, write: Write, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", [GOOD, GOOD | {"task_id": "b", "prompt": "caf_"}])
    path.write_bytes(path.read_bytes().replace(b"caf_", b"caf\xe9"))
    message = refusal(path)
    assert place(suffix, 2) in message
    assert "UTF-8" in message


def test_invalid_utf8_in_parquet_is_refused_with_its_row_and_field(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"caf\xe9"], pa.binary())
    text = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": text, "flash_correct": [True, False]}), path)
    message = refusal(path)
    assert "row 2" in message
    assert "'prompt'" in message


@every_format
@pytest.mark.parametrize("size", [LARGEST_PROMPT_BYTES + 1, 100_000_000], ids=["just too large", "100 MB"])
def test_huge_prompt_is_refused_with_its_row(tmp_path: Path, write: Write, suffix: str, size: int) -> None:
    path = write(tmp_path / f"t.{suffix}", [GOOD, GOOD | {"task_id": "b", "prompt": "x" * size}])
    assert place(suffix, 2) in refusal(path)


def test_parts_of_a_quoted_csv_field_are_bounded_by_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'prompt,flash_correct\n"' + b"y" * LARGEST_LINE_BYTES + b'",1\n')
    assert "row 2" in refusal(path)


def test_row_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    for bad in ("{", "[1]", "7", '{"a": 1} x', "[" * 100_000):
        path = tmp_path / "t.jsonl"
        path.write_text(json.dumps(GOOD) + "\n\n" + bad + "\n")
        assert "row 3" in refusal(path)


def test_csv_row_with_too_few_or_too_many_fields_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for bad in ("x", "x,1,2"):
        path.write_text(f"prompt,flash_correct\ny,1\n{bad}\n")
        assert "row 3" in refusal(path)


def test_csv_with_an_open_quote_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "t.csv").write_text('prompt,flash_correct\ny,1\n"x,1\n')
    assert "not readable as CSV" in refusal(path)


@pytest.mark.parametrize("name", ["t.txt", "t", "t.parquet.gz"])
def test_other_formats_are_refused_with_those_that_are_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert ".parquet, .jsonl, .ndjson, .csv" in refusal(tmp_path / name)


@every_format
def test_file_that_is_not_there_is_refused(tmp_path: Path, suffix: str) -> None:
    assert "cannot be read" in refusal(tmp_path / f"absent.{suffix}")
