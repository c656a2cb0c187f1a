"""What the traces say of the answers: tokens, seconds, dollars and attempts of each tier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import TraceError
from pipeline.traces import load
from pipeline.usage import COLUMNS, Usage

Row = dict[str, Any]
Write = Callable[[Path, Sequence[Row]], Path]
FORMATS = ("jsonl", "csv", "parquet")
AMOUNTS = {"input_tokens": 900, "cached_tokens": 300, "output_tokens": 50, "latency_s": 1.5, "cost_usd": 0.25,
           "attempts": 2, "confidence": 0.75}  # fmt: skip


def both(amounts: Row) -> Row:
    """For flash as given, for pro twice as much of what has no upper limit."""
    doubled = {name: value if name == "confidence" else 2 * value for name, value in amounts.items()}
    pairs = {"flash": amounts, "pro": doubled}
    return {f"{tier}_{name}": value for tier, each in pairs.items() for name, value in each.items()}


@pytest.mark.parametrize("suffix", FORMATS)
def test_usage_of_both_tiers_is_read_from_every_format(tmp_path: Path, write: Write, suffix: str) -> None:
    rows = [{"prompt": "x", "flash_correct": 1, **both(AMOUNTS)}, {"prompt": "y", "flash_correct": 1}]
    usage = load([write(tmp_path / f"t.{suffix}", [rows[0], dict.fromkeys(rows[0]) | rows[1]])]).usage
    for name, value in AMOUNTS.items():
        found = getattr(usage, name)
        assert found[0].tolist() == [value, value if name == "confidence" else 2 * value], name
        assert np.isnan(found[1]).all(), name


def test_every_column_of_usage_is_one_of_the_traces() -> None:
    assert set(COLUMNS) == set(AMOUNTS) == {item.name for item in fields(Usage)}


def test_usage_is_taken_with_its_rows(tmp_path: Path, write: Write) -> None:
    rows = [{"prompt": f"word {at}", "flash_correct": 1, "flash_input_tokens": at} for at in range(5)]
    taken = load([write(tmp_path / "t.jsonl", rows)]).take(np.array([3, 1]))
    assert taken.usage.input_tokens[:, 0].tolist() == [3, 1]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("tier", ["flash", "pro"])
@pytest.mark.parametrize(("part", "whole"), [("cached_tokens", "input_tokens"), ("reasoning_tokens", "output_tokens")])
def test_part_that_is_more_than_its_whole_is_an_error_with_its_place(
    tmp_path: Path, write: Write, suffix: str, tier: str, part: str, whole: str
) -> None:
    names = f"{tier}_{part}", f"{tier}_{whole}"
    cells = [(5, 5), (None, 3), (8, None), (1201, 1200), (9, 1)]
    rows = [{"prompt": "x", "flash_correct": 1, **dict(zip(names, pair, strict=True))} for pair in cells]
    place = {"jsonl": 4, "csv": 5, "parquet": 4}[suffix]
    told = rf"t.{suffix}, row {place}, field '{names[0]}': 1201 are more than the 1200 of '{names[1]}'.*add them to it"
    with pytest.raises(TraceError, match=told):
        load([write(tmp_path / f"t.{suffix}", rows)])


def test_part_without_the_column_of_its_whole_is_taken_as_it_is(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "t.jsonl", [{"prompt": "x", "flash_correct": 1, "flash_cached_tokens": 7}])
    assert load([path]).usage.cached_tokens[0, 0] == 7


@pytest.mark.parametrize(("name", "cell"), [("confidence", 1.5), ("latency_s", -1), ("input_tokens", 1.5)])
def test_usage_out_of_its_range_is_an_error_with_its_place(
    tmp_path: Path, write: Write, name: str, cell: float
) -> None:
    path = write(tmp_path / "t.jsonl", [{"prompt": "x", "flash_correct": 1, f"pro_{name}": cell}])
    with pytest.raises(TraceError, match=rf"t\.jsonl, row 1, field 'pro_{name}'"):
        load([path])
