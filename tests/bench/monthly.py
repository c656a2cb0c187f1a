"""A whole `tier-router retune` on a month of a million generated decisions: time and memory."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.config import BUNDLE
from tests.bench import goals
from tests.bench.data import Data
from tests.bench.ingesting import WORDS, write
from tests.bench.processes import TIER_ROUTER, measured
from tests.bench.table import Line

ROWS, DAYS = 1_000_000, 30
ENDS = (0, 10, 11)


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data.say("monthly: training on the bundle")
        models, served = str(folder / "models"), str(folder / "served")
        measured([TIER_ROUTER, "train", "--out", models])
        measured([TIER_ROUTER, "ship", models, served])
        data.say(f"monthly: generating {ROWS:,} log rows")
        write(folder, ROWS, begin=datetime.now(UTC) - timedelta(days=DAYS), prompts=ROWS)
        config = folder / "retune.toml"
        config.write_text(_config(folder, models, served), encoding="utf-8")
        data.say("monthly: retuning")
        took = measured([TIER_ROUTER, "retune", "--config", str(config)], ENDS)
    what = f"`tier-router retune` on {ROWS:,} generated decisions of {WORDS} words, no two prompts alike (Parquet)"
    return [
        Line(f"{what}, seconds", took.seconds, f"(1 run; {took.processor_seconds:.0f} s of processor time)",
             goals.MONTH_SECONDS, ".0f"),
        Line(f"{what}, peak GB", took.peak_gigabytes, "(1 run)", goals.MONTH_GIGABYTES, ".2f"),
    ]  # fmt: skip


def _config(folder: Path, models: str, served: str) -> str:
    named = {
        "logs": [str(folder / "parquet")], "outcomes": [str(folder / "outcomes.csv")], "traces": [str(BUNDLE)],
        "out": models, "dest": served,
    }  # fmt: skip
    return "[retune]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in named.items())
