"""What files of outcomes, and the log itself, say of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import TraceError
from pipeline.ingest.layouts import OUTCOMES, SAYING, SOURCES
from pipeline.ingest.lines import Block, chunk
from pipeline.ingest.logs import AS_IT_STANDS, finished, pieces, there
from pipeline.ingest.once import numbers
from pipeline.ingest.pool import in_order
from pipeline.ingest.spill import FILE, PLACE
from pipeline.ingest.usable import tiers
from pipeline.reading import Chunk
from pipeline.schema import COLUMNS, OUTCOME_COLUMNS, TIERS

# In the place of a tier: whichever answered.
WHOEVER = -1
RIGHT, WRONG, UNGRADED = 1, 0, -1
NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Statements:
    """N things that were said of answers.

    Attributes:
        task_id: text[N].
        tier: int64[N], place of the tier in `TIERS`, or `WHOEVER`.
        correct: int64[N], `RIGHT`, `WRONG` or `UNGRADED`.
        time: int64[N], microseconds since 1970 when it was known, or `NEVER`.
        source: text[N], of the label; null where not given.
        file: int64[N], place in `files`.
        place: int64[N], row or line.
        files: that they stand in.
        unknown: names of columns nobody knows.
    """

    task_id: pa.ChunkedArray
    tier: Ints
    correct: Ints
    time: Ints
    source: pa.ChunkedArray
    file: Ints
    place: Ints
    files: tuple[Path, ...]
    unknown: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tier)

    def where(self, at: int) -> str:
        """Where a statement stands, as complaints say it."""
        return f"{self.files[self.file[at]]}, row {self.place[at]}"


def read(files: Sequence[Path], progress: Callable[[int], object]) -> Statements:
    """What files say.

    Args:
        files: CSV, JSON lines or Parquet.
        progress: called with the number of rows read so far.

    Raises:
        TraceError: a file is not there or a folder, or names the file, the row and the field.
    """
    for path in files:
        _check(path)
    tables, unknown, rows = list[pa.Table](), dict[str, None](), 0
    numbered = ((number, path, piece) for number, path in enumerate(files) for piece in pieces(path, OUTCOMES))
    for table, names in in_order(partial(_said, piece, path, number) for number, path, piece in numbered):
        tables += table
        unknown |= dict.fromkeys(name for name in names if name not in COLUMNS)
        rows += sum(map(len, table))
        progress(rows)
    return _statements(tables, tuple(files), tuple(unknown))


def _check(path: Path) -> None:
    if not there(path) and not there(finished(path)):
        raise TraceError(f"{path}: there is no such file: correct the name; {AS_IT_STANDS}")
    if path.is_dir():
        raise TraceError(f"{path}: a folder: name the files of outcomes in it")


def of_log(keys: pa.Table, files: tuple[Path, ...]) -> Statements:
    """What log rows say themselves: a service may record an outcome with its decision."""
    tables = []
    for name in OUTCOME_COLUMNS:
        if keys[name].null_count < len(keys):
            said = keys.filter(keys[name].is_valid())
            columns = {"correct": said[name], **{each: said[each] for each in ("task_id", FILE, PLACE)}}
            tables.append(_table(columns, name.removesuffix("_correct"), len(said)))
    return _statements(tables, files, ())


def together(one: Statements, other: Statements) -> Statements:
    """Both, one after the other."""
    return Statements(
        pa.chunked_array([*one.task_id.chunks, *other.task_id.chunks], pa.string()),
        np.concatenate([one.tier, other.tier]),
        np.concatenate([one.correct, other.correct]),
        np.concatenate([one.time, other.time]),
        pa.chunked_array([*one.source.chunks, *other.source.chunks], pa.string()),
        np.concatenate([one.file, other.file + len(one.files)]),
        np.concatenate([one.place, other.place]),
        (*one.files, *other.files),
        (*one.unknown, *other.unknown),
    )


def _said(piece: Block | Chunk, path: Path, number: int) -> tuple[list[pa.Table], tuple[str, ...]]:
    found = chunk(piece, OUTCOMES) if isinstance(piece, Block) else piece
    if found is None:
        return [], ()
    size, given = len(found.places), found.columns
    if given["task_id"].null_count:
        at = found.places[given["task_id"].is_null().to_numpy(zero_copy_only=False)][0]
        raise TraceError(f"{path}, row {at}, field 'task_id': empty: name the decision by the id of its log row")
    own = {"task_id": given["task_id"], "time": given.get("time"), FILE: pa.array(np.full(size, number))}
    own[PLACE] = pa.array(found.places)
    return list(_by_tier(given, own, size)), found.unknown


def _by_tier(given: dict[str, pa.Array], own: dict[str, pa.Array], size: int) -> Iterator[pa.Table]:
    source = given.get("label_source")
    for name, tier, its_source in zip(SAYING, (None, *TIERS), ("label_source", *SOURCES), strict=True):
        if name in given:
            columns = own | {"correct": given[name], "source": given.get(its_source, source)}
            yield _table(columns | ({"tier": given.get("tier")} if tier is None else {}), tier, size)


def _table(columns: dict[str, pa.Array], tier: str | None, size: int) -> pa.Table:
    kinds = {"task_id": pa.string(), "tier": pa.string(), "correct": pa.bool_(), "time": COLUMNS["time"].arrow,
             "source": pa.string(), FILE: pa.int64(), PLACE: pa.int64()}  # fmt: skip
    if tier is not None:
        columns = columns | {"tier": pa.array([tier]).take(pa.array(np.zeros(size, np.int64)))}
    arrays = {
        name: pa.nulls(size, kind) if columns.get(name) is None else columns[name] for name, kind in kinds.items()
    }
    return pa.table(arrays, pa.schema(list(kinds.items())))


def _statements(tables: Iterable[pa.Table], files: tuple[Path, ...], unknown: tuple[str, ...]) -> Statements:
    all_of_them = pa.concat_tables([_table({}, None, 0), *tables])
    return Statements(
        all_of_them["task_id"],
        tiers(all_of_them["tier"]),
        _marks(all_of_them["correct"]),
        np.where(_valid(all_of_them["time"]), numbers(all_of_them["time"].fill_null(0)), NEVER),
        all_of_them["source"],
        all_of_them[FILE].to_numpy(),
        all_of_them[PLACE].to_numpy(),
        files,
        unknown,
    )


def _marks(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()).fill_null(UNGRADED).to_numpy())


def _valid(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy())
