"""Made-up rows of decision logs, and their evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.ingest import ingest
from pipeline.ingest.result import Ingested
from pipeline.runtime.parquet_file import convert, storable

Row = dict[str, Any]
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def log_row(number: int, **changes: Any) -> Row:
    """A row of a log, an hour after the one before; every third chose pro."""
    tier = "flash" if number % 3 else "pro"
    return {
        "task_id": f"{number:032x}", "time": (FIRST + timedelta(hours=number)).isoformat(), "version": "v1-aaaa",
        "chosen": tier, "served": tier, "propensity": 0.98, "reason": "gain", "gain": 0.5, "threshold": 0.25,
        "evidence": 1.0, "flash_probability": 0.25, "pro_probability": 0.75, "context_bytes": number, "tool_count": 0,
        "turn_count": 1, f"{tier}_model": "made-up", "words": {"prove": 2, "that": 1, str(number % 10): 1},
    } | changes  # fmt: skip


def log_rows(count: int) -> list[Row]:
    return [log_row(number) for number in range(count)]


def write_log(folder: Path, rows: Sequence[Row], number: int = 1, form: str = "jsonl") -> Path:
    """A finished file of a log in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"decisions-20260101T000000Z-7-{number}.{form}"
    lines = folder / ".lines" if form == "parquet" else path
    made = map(storable, rows) if form == "parquet" else rows
    compact = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in made)  # as the log writes them
    lines.write_text("".join(f"{line}\n" for line in compact), encoding="utf-8")
    if form == "parquet":
        convert(lines, path)
        lines.unlink()
    return path


def write_outcomes(path: Path, rows: Sequence[Row]) -> Path:
    """A file of outcomes, in the form that its suffix says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [",".join(names)]
        lines += [",".join("" if row.get(name) is None else str(row[name]) for name in names) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def outcomes_of(rows: Sequence[Row]) -> list[Row]:
    """An outcome of each row, a day later; two of three are right."""
    return [
        {"task_id": row["task_id"], "correct": at % 3 != 0,
         "time": (datetime.fromisoformat(row["time"]) + timedelta(days=1)).isoformat()}
        for at, row in enumerate(rows)
    ]  # fmt: skip


def ingested(tmp_path: Path, rows: Sequence[Row], outcomes: Sequence[Row] | None = None, **options: Any) -> Ingested:
    """What an ingest makes of rows and their outcomes; without any, each row's own."""
    write_log(tmp_path / "log", rows)
    said = write_outcomes(tmp_path / "outcomes.jsonl", outcomes_of(rows) if outcomes is None else outcomes)
    files = [said] if outcomes is None or outcomes else []
    return ingest([tmp_path / "log"], files, tmp_path / "evidence.parquet", **{"now": NOW} | options)


def written(found: Ingested) -> dict[str, Row]:
    """The evidence by id."""
    return {row["task_id"]: row for row in pq.read_table(found.path).to_pylist(maps_as_pydicts="strict")}
