"""Each decision once: a row that was logged twice, or shipped twice, stays once.

A service gives every decision an id of its own (`Decider`), and logs it once. The same row comes again where files are
copied, and where a Parquet file was just made of its lines; a decision comes again, with another time, where a service
lets `decide` log it and calls `record` as well. Then the last row knows best what came of it. Two different decisions
under one id are a mistake of whoever logs: none of them can be told from the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.ingest.layouts import WHYS

DECISION = ("chosen", "propensity", "decided_by")
COURSE = ("time", "served", *WHYS)


@dataclass(frozen=True, slots=True)
class Once:
    """What N log rows are without their repetitions.

    Attributes:
        ids: the M distinct ids.
        codes: int64[N], place of each row's id in them.
        row: int64[M], the row that stands for each id.
        contradicted: bool[M], other rows of the id tell of another decision.
        same: rows left out that say the same.
        again: rows left out that were logged before what came of the decision was known.
    """

    ids: pa.Array
    codes: Ints
    row: Ints
    contradicted: NDArray[np.bool_]
    same: int
    again: int


def once(keys: pa.Table) -> Once:
    """Find the row that stands for each decision: of several the latest, of those of one time the last.

    Args:
        keys: of log rows; see `spill.Piece`.
    """
    encoded = keys["task_id"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64)
    order = np.lexsort((numbers(keys["time"]), codes))
    last = np.ones(len(order), np.bool_)
    last[:-1] = codes[order][1:] != codes[order][:-1]
    row = order[last]  # by code, for all codes from 0 stand there
    others = order[~last]
    kept = row[codes[others]]
    differs = _differ(keys, DECISION, others, kept)
    contradicted = np.zeros(len(row), np.bool_)
    contradicted[codes[others[differs]]] = True
    same = ~differs & ~_differ(keys, COURSE, others, kept)
    return Once(
        encoded.dictionary, codes, row, contradicted, int(same.sum()), int((~same & ~differs).sum())
    )  # fmt: skip


def _differ(keys: pa.Table, names: tuple[str, ...], rows: Ints, others: Ints) -> NDArray[np.bool_]:
    found = np.zeros(len(rows), np.bool_)
    if len(rows):
        for name in names:
            values = numbers(keys[name])
            found |= ~((values[rows] == values[others]) | (np.isnan(values[rows]) & np.isnan(values[others])))
    return found


def numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as numbers that are equal where its values are, NaN or -1 for none; times in microseconds."""
    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    if pa.types.is_floating(column.type):
        return np.asarray(column.fill_null(np.nan).to_numpy())
    return np.asarray(column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy())
