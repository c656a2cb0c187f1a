"""A month of production, made up: what a version decides on requests, the log of it, and outcomes that arrive later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from conftest import generate, write_rows

from pipeline import artifact
from pipeline.pointer import name_of
from pipeline.served import Files
from pipeline.traces import load
from pipeline.tune import OperatingPoint, sends_to_pro

Row = dict[str, Any]
# Of now, because a retune asks whether its newest decision is a new one.
BEGIN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=30)


def requests(count: int, seed: int, *, worse: float = 0.0) -> list[Row]:
    """Requests with what both tiers would answer; flash's right answers to hard ones are wrong with chance `worse`."""
    rng = np.random.default_rng(seed)
    rows = generate(count, seed + 1_000)
    for at, row in enumerate(rows):
        row |= {"task_id": f"{seed:04x}{at:028x}", "group": None, "category": None}
        row["prompt"] += f" {seed}"
        if worse and row["prompt"].startswith(tuple("pitmdlcbe")) and rng.random() < worse:
            row["flash_correct"] = False
    return rows


def log(folder: Path, version: Path, rows: Sequence[Row], *, explore: float = 0.1, seed: int = 0,
        begin: datetime = BEGIN, days: float = 28.0) -> list[Row]:  # fmt: skip
    """Write the decisions of a version on requests into a folder of logs; returns the log's rows."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = artifact.read_manifest(version)
    traces = load([write_rows(folder.parent / "asked.jsonl", rows)])
    _, _, probabilities = Files.open(version).see(traces)
    point = OperatingPoint(**manifest["operating_point"])
    flash, pro = probabilities.astype(np.float32).T
    wanted = sends_to_pro((pro - flash).astype(float), point.threshold)
    rng = np.random.default_rng(seed)
    turned = rng.random(len(rows)) < explore
    logged = []
    for at, row in enumerate(rows):
        tier = "pro" if wanted[at] != turned[at] else "flash"
        when = begin + timedelta(days=days * at / len(rows))
        logged.append({
            "task_id": row["task_id"], "time": when.isoformat(timespec="milliseconds"), "version": name_of(manifest),
            "chosen": tier, "served": tier, "propensity": explore if turned[at] else 1 - explore, "reason": "gain",
            "context_bytes": 0, "tool_count": 0, "turn_count": 1, f"{tier}_model": row[f"{tier}_model"],
            "prompt": row["prompt"],
        })  # fmt: skip
    path = folder / f"decisions-{begin:%Y%m%dT%H%M%SZ}-1-{seed}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in logged), encoding="utf-8")
    return logged


def outcomes(path: Path, rows: Sequence[Row], logged: Sequence[Row], *, arrive: float = 1.0, seed: int = 0) -> Path:
    """Write the outcomes of logged decisions, of which a share has arrived."""
    rng = np.random.default_rng(seed)
    said = [
        {"task_id": row["task_id"], "correct": row[f"{made['served']}_correct"]}
        for row, made in zip(rows, logged, strict=True)
        if rng.random() < arrive
    ]
    return write_rows(path, said)


def audit(path: Path, count: int, seed: int, *, worse: float = 0.0, begin: datetime = BEGIN) -> Path:
    """Write a sample of requests with what both tiers answered."""
    rows = requests(count, seed, worse=worse)
    for at, row in enumerate(rows):
        row["time"] = (begin + timedelta(days=20, seconds=at)).isoformat()
    return write_rows(path, rows)
