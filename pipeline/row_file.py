"""Rows in a file of a version: figures and outcomes as columns of Parquet, and no word of a prompt.

The file's metadata holds its format and whatever else is said of all rows. A new column may be added at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import ArtifactError
from features.graph import FEATURES
from pipeline.artifact import verified
from pipeline.observed import Observed
from pipeline.schema import TIERS
from pipeline.traces import digest
from pipeline.usage import COLUMNS, Usage

KEY = b"tier_router"


def write(path: Path, table: pa.Table, about: Mapping[str, Any]) -> str:
    """Write a file; returns its SHA-256. What no row knows takes no column.

    Args:
        path: of the file.
        table: its rows.
        about: what is said of all of them, "format" included.
    """
    kept = [name for name in table.column_names if table[name].null_count < len(table)]
    pq.write_table(table.select(kept).replace_schema_metadata({KEY: json.dumps(about)}), path, compression="zstd")
    return digest([path])


def read(folder: Path, name: str, stated: Mapping[str, Any], expected: int) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of a file, and what is said of all of them.

    Args:
        folder: of the version.
        name: of the file.
        stated: what the version's manifest says of the file.
        expected: format.

    Raises:
        ArtifactError: the file is missing, not the one that the manifest describes, or of another format.
    """
    table = pq.read_table(pa.BufferReader(verified(folder, name, stated)))
    about: dict[str, Any] = json.loads(table.schema.metadata[KEY])
    if about["format"] != expected:
        raise ArtifactError(f"{folder / name}: expected format {expected}, found {about['format']!r}: train again")
    return table, about


def columns(rows: Observed) -> dict[str, pa.Array]:
    """The columns of rows, by name; outcomes that are not known are null."""
    named = {
        "group": pa.array(rows.groups),
        "category": pa.array(rows.category, pa.string()),
        "time": pa.array(rows.time, pa.timestamp("us")),
        "words": pa.array(rows.words),
        "context_bytes": pa.array(rows.context_bytes),
        "evidence": pa.array(rows.evidence),
        **{name: pa.array(column) for name, column in zip(FEATURES, rows.features.T, strict=True)},
    }
    for at, tier in enumerate(TIERS):
        outcome = rows.outcomes[:, at]
        named[f"{tier}_correct"] = pa.array(outcome == 1, mask=np.isnan(outcome))
        named[f"{tier}_probability"] = pa.array(rows.probabilities[:, at])
        for name in COLUMNS:
            amounts = getattr(rows.usage, name)[:, at]
            named[f"{tier}_{name}"] = pa.array(amounts, mask=np.isnan(amounts))
    return named


def observed(table: pa.Table) -> Observed:
    """The rows that `columns` were made of."""
    known = "time" in table.column_names
    return Observed(
        outcomes=pair(table, "correct", float),
        groups=column(table, "group", np.int64),
        category=column(table, "category", object),
        time=column(table, "time", "datetime64[us]") if known else np.full(len(table), "NaT", "datetime64[us]"),
        words=column(table, "words", np.int64),
        context_bytes=column(table, "context_bytes", np.int64),
        usage=Usage(**{name: pair(table, name, np.float32) for name in COLUMNS}),
        features=np.stack([column(table, name, np.float32) for name in FEATURES], 1),
        probabilities=pair(table, "probability", float),
        evidence=column(table, "evidence", np.float32),
    )


def pair(table: pa.Table, name: str, kind: Any) -> np.ndarray[Any, Any]:
    """A column of either tier, [N, 2]."""
    return np.stack([column(table, f"{tier}_{name}", kind) for tier in TIERS], 1)


def column(table: pa.Table, name: str, kind: Any) -> np.ndarray[Any, Any]:
    """A column, [N]; NaN where it is not known."""
    if name not in table.column_names:
        return np.full(len(table), np.nan, kind)
    return np.asarray(table[name].to_numpy(), dtype=kind)
