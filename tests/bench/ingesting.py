"""Decision logs of up to a million generated rows made into evidence: time and memory, beside reading their JSON."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.random import Generator

from pipeline.runtime.parquet_file import convert
from tests.bench import goals
from tests.bench.data import Data
from tests.bench.processes import TIER_ROUTER, Took, measured, python
from tests.bench.table import Line

SIZES = (200_000, 1_000_000)
ROWS_OF_FILE = 50_000
WORDS, VOCABULARY, BAGS = 60, 20_000, 5_000
SECONDS_BETWEEN = 2.5
EXPLORED, PRO, OUTCOME, RIGHT = 0.02, 0.3, 0.8, 0.8
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
BASELINE = """
import json, pathlib
for path in sorted(pathlib.Path({folder!r}).iterdir()):
    with path.open("rb") as file:
        for line in file:
            json.loads(line)
"""


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    lines = []
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            data.say(f"ingesting: generating {rows:,} log rows")
            write(folder, rows)
            read = measured(python(BASELINE.format(folder=str(folder / "jsonl"))))
            for form in ("jsonl", "parquet"):
                data.say(f"ingesting: {rows:,} rows of {form}")
                took = measured(
                    [TIER_ROUTER, "ingest", str(folder / form), "--outcomes", str(folder / "outcomes.csv"),
                     "--out", str(folder / f"{form}.parquet")]
                )  # fmt: skip
                lines += _lines(rows, form, took, read)
    return lines


def _lines(rows: int, form: str, took: Took, read: Took) -> list[Line]:
    what = f"`tier-router ingest` of {rows:,} generated {form} rows of {WORDS} words"
    largest = rows == SIZES[-1]
    beside = f"json.loads of the lines alone: {read.seconds:.1f} s"
    behind = f"(1 run; {took.processor_seconds:.0f} s of processor time; {beside})"
    return [
        Line(f"{what}, seconds", took.seconds, behind, goals.INGEST_SECONDS if largest else None, ".1f"),
        Line(f"{what}, peak GB", took.peak_gigabytes, "(1 run)", goals.INGEST_GIGABYTES if largest else None, ".2f"),
    ]


def write(folder: Path, rows: int, seed: int = 0, begin: datetime = FIRST, prompts: int = BAGS) -> None:
    """The same log as lines of JSON and as Parquet, and outcomes of most of its decisions; so many prompts in turns."""
    random = np.random.default_rng(seed)
    bag = lru_cache(BAGS)(lambda number: _bag(np.random.default_rng([seed, number])))
    for form in ("jsonl", "parquet"):
        (folder / form).mkdir()
    with (folder / "outcomes.csv").open("w", encoding="utf-8") as outcomes:
        outcomes.write("task_id,correct,time\n")
        for number, first in enumerate(range(0, rows, ROWS_OF_FILE), 1):
            name, lists = f"decisions-20260101T000000Z-1-{number}", folder / "lists"
            with (folder / "jsonl" / f"{name}.jsonl").open("w", encoding="utf-8") as maps, lists.open("w") as other:
                for at in range(first, min(first + ROWS_OF_FILE, rows)):
                    time = begin + timedelta(seconds=at * SECONDS_BETWEEN)
                    _row(time, random, bag(at % prompts), maps, other, outcomes)
            convert(lists, folder / "parquet" / f"{name}.parquet")


def _word(number: int) -> str:
    """A word of letters alone, which the word rule leaves whole."""
    return "w" + "".join("abcdefghij"[int(digit)] for digit in str(number))


def _bag(random: Generator) -> tuple[str, str]:
    """Word counts as a log's lines have them, and as those of a Parquet log have them."""
    words = [_word(number) for number in random.choice(VOCABULARY, WORDS, replace=False)]
    counts = random.integers(1, 4, WORDS).tolist()
    map_of_them = json.dumps(dict(zip(words, counts, strict=True)), separators=(",", ":"))
    return f'"words":{map_of_them}}}', f'"words":{json.dumps(words)},"words.times":{counts}}}'


def _row(
    time: datetime, random: Generator, bag: tuple[str, str], maps: TextIO, lists: TextIO, outcomes: TextIO
) -> None:  # fmt: skip
    chances = random.random(8)
    explored = chances[0] < EXPLORED
    tier = "pro" if (chances[1] < PRO) != explored else "flash"
    made = {
        "task_id": random.bytes(16).hex(), "time": time.isoformat(timespec="milliseconds"),
        "version": "v3-1a2b3c4d5e6f", "chosen": tier, "served": tier,
        "propensity": EXPLORED if explored else 1 - EXPLORED, "reason": "explored" if explored else "gain",
        "gain": chances[2], "threshold": 0.125, "evidence": chances[3], "flash_probability": chances[4],
        "pro_probability": chances[5], "context_bytes": int(chances[6] * 10_000), "tool_count": 0, "turn_count": 3,
        f"{tier}_model": "made-up-1", f"{tier}_latency_s": round(chances[7], 6), f"{tier}_input_tokens": 345,
        f"{tier}_output_tokens": 234,
    }  # fmt: skip
    head = json.dumps(made, separators=(",", ":"))[:-1] + ","
    for file, counts in zip((maps, lists), bag, strict=True):
        file.write(f"{head}{counts}\n")
    if chances[2] < OUTCOME:
        outcomes.write(f"{made['task_id']},{int(chances[3] < RIGHT)},{(time + timedelta(days=1)).isoformat()}\n")
