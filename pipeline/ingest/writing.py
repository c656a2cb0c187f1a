"""The evidence as a file: traces in the order of their times, the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.beside import PRIVATE, replacing
from pipeline.ingest.joined import Joined
from pipeline.ingest.layouts import ALWAYS, EVIDENCE, SOURCES, STATE, UNUSABLE
from pipeline.ingest.pool import in_order
from pipeline.ingest.spill import Rows
from pipeline.schema import OUTCOME_COLUMNS, TEXT

ROWS_OF_GROUP = 32_768


@dataclass(frozen=True, slots=True)
class Judged:
    """K log rows as they are written.

    Attributes:
        rows: int64[K], which rows.
        served: int64[K], place in `TIERS` of the tier that answered; -1 for none.
        outcome: of the K rows.
        why_not: text[K], why the row must not be used for estimates; None where it may be.
    """

    rows: Ints
    served: Ints
    outcome: Joined
    why_not: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.rows)


def write(rows: Rows, judged: Judged, out: Path, progress: Callable[[int], object]) -> None:
    """Write the evidence.

    Args:
        rows: of the logs.
        judged: those to write, in their order.
        out: a Parquet file; replaced as a whole.
        progress: called with the number of rows written so far.

    Raises:
        StorageError: it cannot be written; what was there before is still there.
    """
    given = {*rows.given, *ALWAYS} | ({*SOURCES} if judged.outcome.source.null_count < len(judged) else set())
    schema = pa.schema([field for field in EVIDENCE if field.name in given])
    written = 0
    with replacing(out, PRIVATE) as partial_file, pq.ParquetWriter(partial_file, schema, compression="zstd") as writer:
        for table in in_order(_tables(rows, judged, schema)):
            writer.write_table(table)
            written += len(table)
            progress(written)


def _tables(rows: Rows, judged: Judged, schema: pa.Schema) -> Iterator[Callable[[], pa.Table]]:
    for start in range(0, len(judged), ROWS_OF_GROUP):
        yield partial(_table, rows, judged, slice(start, start + ROWS_OF_GROUP), schema)


def _table(rows: Rows, judged: Judged, part: slice, schema: pa.Schema) -> pa.Table:
    whole = rows.whole(judged.rows[part])
    columns = {name: whole[name] for name in whole.column_names} | _outcomes(judged, part)
    usable = pa.array([why is None for why in judged.why_not[part]])
    if "propensity" in columns:
        columns["propensity"] = pc.if_else(usable, columns["propensity"], None)
    columns[UNUSABLE] = pa.array(judged.why_not[part], TEXT)
    arrays = [columns.get(field.name, pa.nulls(len(whole))).cast(field.type) for field in schema]
    return pa.table(arrays, schema).combine_chunks()


def _outcomes(judged: Judged, part: slice) -> dict[str, pa.Array]:
    """Of the tier that answered; the other one's is not observed."""
    correct, served = judged.outcome.correct[part], judged.served[part]
    found = {STATE: pa.array(judged.outcome.state[part], TEXT)}
    source = judged.outcome.source[part]
    for place, (name, its_source) in enumerate(zip(OUTCOME_COLUMNS, SOURCES, strict=True)):
        known = (served == place) & (correct >= 0)
        found[name] = pa.array(correct == 1, mask=~known)
        found[its_source] = pc.if_else(pa.array(known), source, None)
    return found
