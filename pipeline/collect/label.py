"""From the journal to a trace file, with texts or with word counts only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.request import Request
from pipeline.anonymise import anonymise
from pipeline.beside import PRIVATE, replacing
from pipeline.collect import marks
from pipeline.collect.journal import Journal, Row
from pipeline.collect.marks import Graded
from pipeline.schema import COLUMNS, SIMULATED, TIERS

ROWS_AT_ONCE = 2048
# Columns of a tier that the journal's calls hold under the same name.
OF_CALLS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "latency_s", "cost_usd", "confidence")
TIER_COLUMNS = ("model", "fingerprint", "correct", *OF_CALLS, "attempts", "label_source")
NAMES = (
    "task_id", "time", "category", "group", "prompt", "words", "context_bytes", "tool_count", "turn_count",
    *(f"{tier}_{name}" for tier in TIERS for name in TIER_COLUMNS),
)  # fmt: skip
SCHEMA = pa.schema([(name, COLUMNS[name].arrow) for name in NAMES])
# Of a request whose text was removed. Without its group, which its words made, another time more words would go.
KEPT = ("words", "context_bytes", "tool_count", "turn_count", "group")
SUFFIXES = (".parquet", ".jsonl")


def label(journal: Journal, target: Path) -> int:
    """Write the graded tasks of the last run as traces.

    Args:
        journal: to read.
        target: ends in `.parquet` or `.jsonl`; replaced as a whole.

    Returns:
        The traces written. A task whose answers could not be graded is no trace.

    Raises:
        InputError: another ending, or nothing to write.
        StorageError: the target cannot be written; what was there before is still there.
    """
    if target.suffix not in SUFFIXES:
        raise InputError(f"{target}: expected a file that ends in {' or '.join(SUFFIXES)}")
    with replacing(target, PRIVATE) as partial:
        rows = (_parquet if target.suffix == ".parquet" else _jsonl)(journal, partial)
        if not rows:
            raise InputError(f"{journal.path}: no answer is graded yet: 'tier-router grade' says why")
    return rows


def without_text(journal: Journal, target: Path) -> int:
    """Write traces of word counts, and remove every prompt, answer and grader from the journal.

    Figures, grades and digests stay, so that nothing is asked again and the same traces can be written again.

    Args:
        journal: open for writing.
        target: a Parquet file.

    Returns:
        The traces written.

    Raises:
        InputError: not a Parquet file, or nothing to write.
        StorageError: the target cannot be written; the journal is as it was.
    """
    if target.suffix != ".parquet":
        raise InputError(f"{target}: word counts are written as Parquet: give a file that ends in .parquet")
    texts = journal.path.with_name(f"{journal.path.name}-texts.parquet")
    try:
        label(journal, texts)
        rows = anonymise([texts], target)["rows"]
    finally:
        with suppress(OSError):
            texts.unlink(missing_ok=True)
    table = pq.read_table(target, columns=["task_id", *KEPT]).to_pylist(maps_as_pydicts="strict")
    journal.erase({row.pop("task_id"): json.dumps(row, ensure_ascii=False) for row in table})
    return rows


def _parquet(journal: Journal, path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for table in _tables(journal):
            writer.write_table(table)
            rows += len(table)
    return rows


def _jsonl(journal: Journal, path: Path) -> int:
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        for trace in _traces(journal):
            known = {name: value for name, value in trace.items() if value is not None}
            file.write(json.dumps(known, ensure_ascii=False, default=datetime.isoformat) + "\n")
            rows += 1
    return rows


def _tables(journal: Journal) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    for trace in _traces(journal):
        rows.append(trace)
        if len(rows) == ROWS_AT_ONCE:
            yield pa.Table.from_pylist(rows, SCHEMA)
            rows = []
    if rows:
        yield pa.Table.from_pylist(rows, SCHEMA)


def _traces(journal: Journal) -> Iterator[dict[str, Any]]:
    for task, graded in marks.tasks(journal):
        # Of some tasks no figures were kept when texts were removed, because they were in no file at that time.
        if task["asked"] != "{}" and any(each.correct is not None for each in graded.values()):
            yield _trace(task, graded)


def _trace(task: Row, graded: dict[str, Graded]) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "task_id": task["id"],
        "time": datetime.fromtimestamp(min(each.call["asked_at"] for each in graded.values()), UTC),
        "category": task["category"] or None,
        **_request(task),
    }
    if task["task_group"]:
        trace["group"] = task["task_group"]
    for tier, each in graded.items():
        trace |= {f"{tier}_{name}": value for name, value in _of_tier(each).items()}
    return trace


def _request(task: Row) -> dict[str, Any]:
    asked = json.loads(task["asked"])
    if task["erased"]:
        return {"words": list(asked["words"].items()), **{name: asked[name] for name in KEPT[1:]}}
    request = Request.from_payload(asked)
    return {"prompt": request.prompt, **{name: getattr(request, name) for name in KEPT[1:-1]}}


def _of_tier(graded: Graded) -> dict[str, Any]:
    call = graded.call
    model = call["model"] or None
    source = graded.source if graded.correct is not None else None
    if source and (model or "").startswith(SIMULATED):
        source = f"simulated: {source}"
    return {
        "model": model, "fingerprint": call["fingerprint"] or None, "correct": graded.correct,
        **{name: call[name] for name in OF_CALLS}, "attempts": graded.paid, "label_source": source,
    }  # fmt: skip
