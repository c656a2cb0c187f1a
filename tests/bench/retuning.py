"""A threshold chosen anew, on the bundle and on a million traces, beside the training that it saves."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.config import BUNDLE
from tests.bench import generated, goals
from tests.bench.data import Data
from tests.bench.goals import Goal
from tests.bench.processes import TIER_ROUTER, Took, interleaved, measured
from tests.bench.table import Line

REPETITIONS = 5
MILLION = 1_000_000


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    with tempfile.TemporaryDirectory() as folder:
        data.say("retuning: the bundle")
        lines = _bundle(Path(folder))
        data.say(f"retuning: training on {MILLION:,} generated traces")
        return [*lines, *_million(Path(folder), data)]


def _tune(version: Path, *more: str) -> list[str]:
    return [TIER_ROUTER, "tune", str(version), "--min-quality", "0.95", *more]


def _bundle(folder: Path) -> list[Line]:
    train = [TIER_ROUTER, "train", "--traces", str(BUNDLE), "--out", str(folder / "bundle")]
    trained = measured(train)
    version = folder / "bundle" / "v1"
    fresh = folder / "fresh.parquet"  # the same rows in another file, which has to be read and scored
    pq.write_table(pq.read_table(BUNDLE), fresh, compression="snappy")
    commands = {"tune": _tune(version), "traces": _tune(version, "--traces", str(fresh))}
    runs = interleaved(commands, REPETITIONS)
    what = "`tier-router tune` on the bundle, seconds"
    return [
        _line(what, [took.seconds for took in runs["tune"]], trained.seconds, goals.RETUNE_SECONDS),
        _line(f"{what}, scoring --traces anew", [took.seconds for took in runs["traces"]], trained.seconds, None),
    ]


def _line(what: str, seconds: list[float], training: float, goal: Goal | None) -> Line:
    median = float(np.median(seconds))
    behind = (
        f"({min(seconds):.1f} to {max(seconds):.1f} in {len(seconds)} runs; training the same took {training:.1f},"
        f" {training / median:.1f} times as long)"
    )
    return Line(what, median, behind, goal, ".1f")


def _million(folder: Path, data: Data) -> list[Line]:
    path = folder / "million.parquet"
    generated.write(path, MILLION)
    trained = measured([TIER_ROUTER, "train", "--traces", str(path), "--out", str(folder / "million")])
    version = folder / "million" / "v1"
    data.say("retuning: tuning it anew")
    held = measured(_tune(version))
    same = measured(_tune(version, "--traces", str(path)))
    data.say("retuning: tuning it anew on a million other traces")
    generated.write(path, MILLION, seed=1)
    other = measured(_tune(version, "--traces", str(path)))
    return [
        *_large("its rows held out", held, trained, goals.MILLION_RETUNE_SECONDS, goals.MILLION_RETUNE_GIGABYTES),
        *_large("--traces of the training", same, trained, goals.MILLION_RETUNE_SECONDS, None),
        *_large("a million other --traces, read and scored", other, trained, None, None),
    ]


def _large(how: str, took: Took, trained: Took, seconds: Goal | None, gigabytes: Goal | None) -> list[Line]:
    what = f"`tier-router tune` after training on {MILLION:,} generated traces, {how}"
    behind = f"(1 run; training took {trained.seconds:.0f})"
    return [
        Line(f"{what}, seconds", took.seconds, behind, seconds, ".1f"),
        Line(f"{what}, peak GB", took.peak_gigabytes, f"(1 run; {trained.peak_gigabytes:.2f})", gigabytes, ".2f"),
    ]
