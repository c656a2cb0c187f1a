"""The rows that a version was tuned and tested on, kept beside it: figures and outcomes, and no word of a prompt.

With them a threshold is chosen anew in seconds when a price or a target changes. Format 1; the file's metadata holds
the format, the decision rules that were declared before the rows were looked at, and the evidence floor. A new column
may be added at any time; one that changes its meaning raises `FORMAT`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import ArtifactError
from features.graph import FEATURES
from pipeline.artifact import verified
from pipeline.frontier import Rules
from pipeline.observed import Observed
from pipeline.schema import TIERS
from pipeline.traces import digest
from pipeline.usage import COLUMNS, Usage

FILE = "held_out.parquet"
FORMAT = 1
PARTS = ("tune", "test")
KEY = b"tier_router"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The tune part and the test part, and the rules to choose among."""

    tune: Observed
    test: Observed
    rules: Rules


def write(folder: Path, held: HeldOut) -> dict[str, Any]:
    """Write the file of a version; returns what the manifest says of it: digest, rows of each part, number of rules."""
    table = pa.concat_tables([_table(name, getattr(held, name)) for name in PARTS])
    kept = [name for name in table.column_names if table[name].null_count < len(table)]
    rules = {"thresholds": held.rules.thresholds.tolist(), "evidence_floor": held.rules.evidence_floor}
    table = table.select(kept).replace_schema_metadata({KEY: json.dumps({"format": FORMAT, **rules})})
    path = folder / FILE
    pq.write_table(table, path, compression="zstd")
    rows = {name: len(getattr(held, name)) for name in PARTS}
    return {"sha256": digest([path]), "rows": rows, "rules": len(held.rules)}


def read(folder: Path, stated: Mapping[str, Any]) -> HeldOut:
    """The file of a version.

    Args:
        folder: of the version.
        stated: what its manifest says of the file.

    Raises:
        ArtifactError: the file is missing, not the one that the manifest describes, or of another format.
    """
    table = pq.read_table(pa.BufferReader(verified(folder, FILE, stated)))
    about = json.loads(table.schema.metadata[KEY])
    if about["format"] != FORMAT:
        raise ArtifactError(f"{folder / FILE}: expected format {FORMAT}, found {about['format']!r}: train again")
    rules = Rules(np.array(about["thresholds"]), about["evidence_floor"])
    tune, test = (_observed(table.filter(pc.equal(table["part"], name))) for name in PARTS)
    return HeldOut(tune, test, rules)


def _table(part: str, rows: Observed) -> pa.Table:
    size = len(rows)
    columns = {
        "part": pa.array([part] * size),
        "group": pa.array(rows.groups),
        "category": pa.array(rows.category, pa.string()),
        "time": pa.array(rows.time, pa.timestamp("us")),
        "words": pa.array(rows.words),
        "context_bytes": pa.array(rows.context_bytes),
        "evidence": pa.array(rows.evidence),
        **{name: pa.array(column) for name, column in zip(FEATURES, rows.features.T, strict=True)},
    }
    for at, tier in enumerate(TIERS):
        columns[f"{tier}_correct"] = pa.array(rows.outcomes[:, at] == 1)
        columns[f"{tier}_probability"] = pa.array(rows.probabilities[:, at])
        for name in COLUMNS:
            amounts = getattr(rows.usage, name)[:, at]
            columns[f"{tier}_{name}"] = pa.array(amounts, mask=np.isnan(amounts))
    return pa.table(columns)


def _observed(table: pa.Table) -> Observed:
    def column(name: str, kind: Any) -> np.ndarray[Any, Any]:
        if name not in table.column_names:
            return np.full(len(table), np.nan, kind)
        return np.asarray(table[name].to_numpy(), dtype=kind)

    def times(table: pa.Table) -> np.ndarray[Any, Any]:
        known = "time" in table.column_names
        return column("time", "datetime64[us]") if known else np.full(len(table), "NaT", "datetime64[us]")

    def pair(name: str, kind: Any) -> np.ndarray[Any, Any]:
        return np.stack([column(f"{tier}_{name}", kind) for tier in TIERS], 1)

    return Observed(
        outcomes=pair("correct", float),
        groups=column("group", np.int64),
        category=column("category", object),
        time=times(table),
        words=column("words", np.int64),
        context_bytes=column("context_bytes", np.int64),
        usage=Usage(**{name: pair(name, np.float32) for name in COLUMNS}),
        features=np.stack([column(name, np.float32) for name in FEATURES], 1),
        probabilities=pair("probability", float),
        evidence=column("evidence", np.float32),
    )
