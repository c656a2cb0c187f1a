"""The newest logged decisions that a retune chose a version on, kept beside it: later months are held against them.

A version that has learned of a lasting shift was chosen on the traffic after it, which its labelled rows, of any age,
know nothing of. Format 1, as `pipeline.row_file` writes it: figures and outcomes as the version's own router sees them,
which tier was asked, by what chance, and what answered. A column that changes its meaning raises `FORMAT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import row_file
from pipeline.artifact import verified
from pipeline.evidence import Evidence
from pipeline.schema import TIERS

FILE = "chosen_on.parquet"
FORMAT = 1
MOST = 20_000
# To be held against: beside 1,600 nearly half of the months are found in which flash is five points worse, beside 500
# one in twelve (`tests.bench.drifting`).
FEWEST_GROUPS = 1_500
FEWEST_ARRIVED = 1_000  # groups with an outcome, for answers; of those 1,600 it were about 1,120


def write(folder: Path, known: Evidence) -> dict[str, Any]:
    """Write the file of a version; returns what the manifest says of it: digest and rows."""
    columns = row_file.columns(known.rows)
    columns["script"] = pa.array(known.script, pa.string())
    columns["decided_by"] = pa.array(known.decided_by, pa.string())
    for at, tier in enumerate(TIERS):
        chances = known.chances[:, at]
        columns[f"{tier}_asked"] = pa.array(known.asked[:, at])
        columns[f"{tier}_chance"] = pa.array(chances, mask=np.isnan(chances))
    written = row_file.write(folder / FILE, pa.table(columns), {"format": FORMAT})
    return {"sha256": written, "rows": len(known)}


def read(folder: Path, stated: Mapping[str, Any]) -> Evidence:
    """The file of a version.

    Args:
        folder: of the version.
        stated: what its manifest says of the file.

    Raises:
        ArtifactError: the file is missing, not the one that the manifest describes, or of another format.
    """
    table, _ = row_file.read(folder, FILE, stated, FORMAT)
    return Evidence(
        row_file.observed(table),
        row_file.pair(table, "asked", np.bool_),
        row_file.pair(table, "chance", float),
        row_file.column(table, "script", object),
        row_file.column(table, "decided_by", object),
    )


def copy(folder: Path, stated: Mapping[str, Any], new: Path) -> None:
    """Copy the file of a version to another with the same router.

    Raises:
        ArtifactError: the file is missing, or not the one that the manifest describes.
    """
    (new / FILE).write_bytes(verified(folder, FILE, stated))
