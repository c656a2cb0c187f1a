"""Training on up to a million generated traces: time and memory, and whether they grow no faster than the rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench import generated, goals
from tests.bench.data import Data
from tests.bench.processes import TIER_ROUTER, Took, measured, python
from tests.bench.table import Line

SIZES = (10_000, 100_000, 1_000_000)
BASELINE_ROWS = 100_000
COUNTED = """
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import CountVectorizer
CountVectorizer().fit_transform(pq.read_table({path!r}, columns=["prompt"])["prompt"].to_pylist())
"""
BASELINE = "scikit-learn's CountVectorizer over the same file"


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    with tempfile.TemporaryDirectory() as folder:
        trained, counted = {}, None
        for rows in SIZES:
            data.say(f"scale: generating {rows:,} traces")
            path = Path(folder) / f"{rows}.parquet"
            generated.write(path, rows)
            data.say(f"scale: training on {rows:,}")
            trained[rows] = measured([TIER_ROUTER, "train", "--traces", str(path), "--out", f"{folder}/{rows}"])
            data.say(f"scale: {trained[rows]}")
            if rows == BASELINE_ROWS:
                counted = measured(python(COUNTED.format(path=str(path))))
            path.unlink()
    return [*_lines(trained), *_baseline(trained[BASELINE_ROWS], counted)]


def _lines(trained: dict[int, Took]) -> list[Line]:
    least, middle, most = SIZES
    lines = []
    for rows, took in trained.items():
        what = f"`tier-router train` on {rows:,} generated traces of 100 words"
        largest = rows == most
        once = f"(1 run; {took.processor_seconds:.0f} s of processor time)"
        lines.append(Line(f"{what}, seconds", took.seconds, once, goals.MILLION_SECONDS if largest else None, ".1f"))
        memory = goals.MILLION_GIGABYTES if largest else None
        lines.append(Line(f"{what}, peak GB", took.peak_gigabytes, "(1 run)", memory, ".2f"))
    per_row = {rows: took.seconds / rows for rows, took in trained.items()}
    added = [(trained[b].seconds - trained[a].seconds) / (b - a) * 1e6 for a, b in ((least, middle), (middle, most))]
    behind = (
        f"(1 run each); a million further traces cost {added[0]:.0f} s between {least:,} and {middle:,}"
        f" and {added[1]:.0f} s between {middle:,} and {most:,}"
    )
    ratio = per_row[most] / per_row[least]
    return [*lines, Line(f"seconds a trace at {most:,} against {least:,}", ratio, behind, goals.LINEAR, ".2f")]


def _baseline(ours: Took, theirs: Took | None) -> list[Line]:
    if theirs is None:
        return []
    behind = (
        f"times {BASELINE}: {ours.seconds:.1f} against {theirs.seconds:.1f} s,"
        f" {ours.peak_gigabytes:.2f} against {theirs.peak_gigabytes:.2f} GB"
    )
    return [Line(f"training on {BASELINE_ROWS:,} generated traces", ours.seconds / theirs.seconds, behind, None, ".1f")]
