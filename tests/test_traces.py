"""Good trace files: formats agree, pieces and shards change nothing, and no cell is misread."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import TraceError
from features.request import Request
from pipeline.reading import ROWS_AT_ONCE, read
from pipeline.traces import load

Row = dict[str, Any]
Write = Callable[[Path, Sequence[Row]], Path]
FORMATS = ("jsonl", "csv", "parquet")
every_format = pytest.mark.parametrize("suffix", FORMATS)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_no_words_at_all_are_an_empty_prompt(loaded: Any, name: str) -> None:
    rows = [{"words": {}, "flash_correct": 1}, {"words": {"a": 2}, "flash_correct": 0}]
    assert loaded(rows, name).tally.words.tolist() == [0, 2]


def test_formats_agree(tmp_path: Path, generated: Callable[..., list[Row]], write: Write) -> None:
    first, *others = [load([write(tmp_path / f"t.{suffix}", generated(60))]) for suffix in FORMATS]
    for traces in others:
        for name in ("task_id", "group", "category", "time", "prompts", "outcomes"):
            assert np.array_equal(getattr(first, name), getattr(traces, name), equal_nan=name == "outcomes"), name
        for name in ("words", "numbers", "symbols", "context_bytes", "tool_count", "turn_count"):
            assert np.array_equal(getattr(first.tally, name), getattr(traces.tally, name)), name


@pytest.mark.parametrize(
    ("cells", "value"), [((1, True, "1", "true", "TRUE", 1.0), 1.0), ((0, False, "0", "False", 0.0), 0.0)]
)
def test_spellings_of_an_outcome(tmp_path: Path, write: Write, cells: Sequence[Any], value: float) -> None:
    rows = [{"prompt": "x", "flash_correct": cell} for cell in cells]
    assert load([write(tmp_path / "t.jsonl", rows)]).outcomes[:, 0].tolist() == [value] * len(cells)


def test_outcome_that_was_not_observed_is_neither_right_nor_wrong(tmp_path: Path, write: Write) -> None:
    rows = [{"prompt": "x", "flash_correct": cell, "pro_correct": 1} for cell in (None, "", "null")]
    assert np.isnan(load([write(tmp_path / "t.jsonl", rows)]).outcomes[:, 0]).all()


def test_file_is_read_in_pieces(tmp_path: Path, write: Write) -> None:
    rows = [{"task_id": str(at), "prompt": "x", "flash_correct": at % 2} for at in range(ROWS_AT_ONCE * 2 + 10)]
    for suffix in FORMATS:
        sizes = [len(chunk.places) for chunk in read(write(tmp_path / f"t.{suffix}", rows))]
        assert sizes == [ROWS_AT_ONCE, ROWS_AT_ONCE, 10], suffix


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_first_piece_comes_before_the_rest_is_read(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    rows = [{"task_id": str(at), "prompt": "word " * 50, "flash_correct": at % 2} for at in range(ROWS_AT_ONCE * 4)]
    path, opened = write(tmp_path / f"t.{suffix}", rows), []

    def opening(self: Path, *_: str) -> io.BufferedReader:
        opened.append(io.FileIO(str(self)))
        return io.BufferedReader(opened[-1])

    monkeypatch.setattr(Path, "open", opening)
    for chunk in islice(read(path), 1):
        assert len(chunk.places) == ROWS_AT_ONCE
        assert opened[0].tell() < path.stat().st_size / 2


def test_unobserved_tier_and_words_of_later_shards_are_kept(tmp_path: Path, write: Write) -> None:
    flash = write(tmp_path / "a.jsonl", [{"task_id": "1", "prompt": "x", "flash_correct": 1}])
    pro = write(tmp_path / "b.csv", [{"task_id": "2", "prompt": "y z", "pro_correct": 0}])
    traces = load([flash, pro])
    assert np.array_equal(traces.outcomes, [[1, np.nan], [np.nan, 0]], equal_nan=True)
    assert traces.tally.words.tolist() == [1, 2]


@every_format
def test_shards_of_one_name_in_two_folders_are_two_files(tmp_path: Path, write: Write, suffix: str) -> None:
    months = []
    for month, outcomes in (("january", (1, 0)), ("february", (1, 1))):
        (tmp_path / month).mkdir()
        rows = [{"prompt": f"{month} {at}", "flash_correct": value} for at, value in enumerate(outcomes)]
        months.append(write(tmp_path / month / f"traces.{suffix}", rows))
    traces = load(months)
    assert (len(traces), traces.repeated) == (4, 0)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("field", ["group", "task_id"])
def test_empty_cell_is_as_good_as_none(tmp_path: Path, write: Write, suffix: str, field: str) -> None:
    rows = [{"prompt": f"question {name}", "flash_correct": 1, field: ""} for name in ("one", "two", "three")]
    traces = load([write(tmp_path / f"t.{suffix}", rows)])
    assert len(set(getattr(traces, field).tolist())) == 3


def test_words_count_where_the_prompt_of_a_csv_row_is_empty(tmp_path: Path, write: Write) -> None:
    rows = [{"prompt": "a b", "words": None, "flash_correct": 1}, {"prompt": "", "words": {"c": 3}, "flash_correct": 0}]
    assert load([write(tmp_path / "t.csv", rows)]).tally.words.tolist() == [2, 3]


@every_format
@pytest.mark.parametrize("tools", [[], [{"name": "größe", "b": 1, "a": 2}]])
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_trace_has_the_request_of_its_payload(
    tmp_path: Path, write: Write, suffix: str, tools: list[Row], system: str | None
) -> None:
    messages = [{"role": "system", "content": system}] if system else []
    request = Request.from_payload({"messages": [*messages, {"role": "user", "content": "hello"}], "tools": tools})
    row = {"prompt": "hello", "system": system, "tools": tools, "flash_correct": 1}
    tally = load([write(tmp_path / f"t.{suffix}", [row])]).tally
    found = (tally.context_bytes[0], tally.tool_count[0], tally.turn_count[0])
    assert found == (request.context_bytes, request.tool_count, request.turn_count)


def test_given_counts_win_over_what_the_texts_say(tmp_path: Path, write: Write) -> None:
    row = {"prompt": "x", "system": "long text", "context_bytes": 3, "turn_count": 9, "flash_correct": 1}
    tally = load([write(tmp_path / "t.jsonl", [row])]).tally
    assert (tally.context_bytes[0], tally.turn_count[0]) == (3, 9)


def test_lone_surrogate_in_jsonl_is_read_as_serving_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(r'{"prompt": "a \ud83d b", "flash_correct": 1}' + "\n")
    assert load([path]).prompts.tolist() == [Request("a \ud83d b").prompt]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_column_that_stands_twice_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        cells = [pa.array(["x"]), pa.array([True]), pa.array([False])]
        pq.write_table(pa.Table.from_arrays(cells, ["prompt", "flash_correct", "flash_correct"]), path)
    else:
        path.write_text("prompt,flash_correct,flash_correct\nx,1,0\n")
    with pytest.raises(TraceError, match="flash_correct"):
        load([path])


@pytest.mark.parametrize("counts", [{"a": 0}, {"a": None}, {"": 2}, {"a": -1}])
@every_format
def test_word_count_below_one_or_of_no_word_is_refused(
    tmp_path: Path, write: Write, suffix: str, counts: dict[str, int | None]
) -> None:
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        words = pa.array([list({"b": 1}.items()), list(counts.items())], pa.map_(pa.string(), pa.int32()))
        pq.write_table(pa.table({"words": words, "flash_correct": [True, False]}), path)
    else:
        write(path, [{"words": each, "flash_correct": 1} for each in ({"b": 1}, counts)])
    with pytest.raises(TraceError, match="words"):
        load([path])


def test_word_of_another_tokenizer_is_refused_with_its_row(tmp_path: Path, write: Write) -> None:
    rows = [{"words": words, "flash_correct": 1} for words in ({"fine": 1}, {"don't": 1})]
    with pytest.raises(TraceError, match=r"row 2, field 'words'.*anonymise"):
        load([write(tmp_path / "t.jsonl", rows)])


def test_whole_number_too_large_for_64_bits_is_refused_with_row_and_field(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = {
        "prompt": ["x", "y"],
        "flash_correct": [True, False],
        "context_bytes": pa.array([1, 2**64 - 1], pa.uint64()),
    }
    pq.write_table(pa.table(table), path)
    with pytest.raises(TraceError, match=r"row 2, field 'context_bytes'"):
        load([path])


def test_text_and_word_counts_have_the_same_groups_where_none_are_named(tmp_path: Path, write: Write) -> None:
    text = [{"prompt": prompt, "flash_correct": 1} for prompt in ("b a b", "a b b", "a b")]
    words = [{"words": counts, "flash_correct": 1} for counts in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 1})]
    from_text, from_words = (
        load([write(tmp_path / f"{at}.jsonl", rows)]).group for at, rows in enumerate((text, words))
    )
    assert from_text.tolist() == from_words.tolist()
    assert from_text[0] == from_text[1] != from_text[2]
