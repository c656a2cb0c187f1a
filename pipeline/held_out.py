"""The rows that a version was tuned and tested on, kept beside it: figures and outcomes, and no word of a prompt.

With them a threshold is chosen anew in seconds when a price or a target changes. Format 1; the file's metadata holds
the format, the decision rules that were declared before the rows were looked at, and the evidence floor. A new column
may be added at any time; one that changes its meaning raises `FORMAT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import row_file
from pipeline.frontier import Rules
from pipeline.observed import Observed

FILE = "held_out.parquet"
FORMAT = 1
PARTS = ("tune", "test")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The tune part and the test part, and the rules to choose among."""

    tune: Observed
    test: Observed
    rules: Rules


def write(folder: Path, held: HeldOut) -> dict[str, Any]:
    """Write the file of a version; returns what the manifest says of it: digest, rows of each part, number of rules."""
    table = pa.concat_tables([_table(name, getattr(held, name)) for name in PARTS])
    rules = {"thresholds": held.rules.thresholds.tolist(), "evidence_floor": held.rules.evidence_floor}
    written = row_file.write(folder / FILE, table, {"format": FORMAT, **rules})
    rows = {name: len(getattr(held, name)) for name in PARTS}
    return {"sha256": written, "rows": rows, "rules": len(held.rules)}


def read(folder: Path, stated: Mapping[str, Any]) -> HeldOut:
    """The file of a version.

    Args:
        folder: of the version.
        stated: what its manifest says of the file.

    Raises:
        ArtifactError: the file is missing, not the one that the manifest describes, or of another format.
    """
    table, about = row_file.read(folder, FILE, stated, FORMAT)
    rules = Rules(np.array(about["thresholds"]), about["evidence_floor"])
    tune, test = (row_file.observed(table.filter(pc.equal(table["part"], name))) for name in PARTS)
    return HeldOut(tune, test, rules)


def _table(part: str, rows: Observed) -> pa.Table:
    return pa.table({"part": pa.array([part] * len(rows)), **row_file.columns(rows)})
