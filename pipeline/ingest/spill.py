"""Log rows between their reading and their writing: whole in files beside the evidence, a few figures in memory."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import InputError, StorageError, TraceError
from pipeline.beside import PARTIAL
from pipeline.ingest.layouts import EMPTY, LOG, WHYS
from pipeline.ingest.lines import Block, chunk
from pipeline.ingest.logs import pieces
from pipeline.ingest.pool import in_order
from pipeline.reading import Chunk
from pipeline.schema import COLUMNS, OUTCOME_COLUMNS

# What is kept of every row in memory: all that joining and judging it takes.
KEYS = ("task_id", "time", "chosen", "served", "propensity", "decided_by", *WHYS, *OUTCOME_COLUMNS)
HAS_WORDS, FILE, PLACE = "has_words", "file", "place"
CERTAIN = ("task_id", "time", "chosen")


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that were spilled.

    Attributes:
        path: where they are whole.
        keys: `KEYS`, whether they have words, and where they stood.
        given: columns in which some of them have a value.
        unknown: names of columns nobody knows.
    """

    path: Path
    keys: pa.Table
    given: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of some logs, N of them.

    Attributes:
        keys: a table of N rows; see `Piece`.
        starts: int64[M + 1], number of the first row of each spilled file, and N.
        spilled: the M files.
        given: columns in which some row has a value.
        unknown: names of columns nobody knows.
        files: of the logs; `FILE` is a place in it.
    """

    keys: pa.Table
    starts: Ints
    spilled: tuple[Path, ...]
    given: frozenset[str]
    unknown: tuple[str, ...]
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def place(self, row: int) -> str:
        """Where a row stood, as complaints say it."""
        return f"{self.files[self.keys[FILE][row].as_py()]}, row {self.keys[PLACE][row].as_py()}"

    def whole(self, rows: Ints) -> pa.Table:
        """Some rows with all their columns, in that order."""
        which = np.searchsorted(self.starts, rows, side="right") - 1
        parts, order = [], []
        for number in np.unique(which):
            at = np.flatnonzero(which == number)
            with pa.memory_map(str(self.spilled[number])) as source:
                table = pa.ipc.open_file(source).read_all()
            parts.append(_taken(table, rows[at] - self.starts[number]))
            order.append(at)
        found = pa.concat_tables(parts, promote_options="default")
        places = np.concatenate(order)
        return found if (np.diff(places) > 0).all() else found.take(np.argsort(places))


def _taken(table: pa.Table, rows: Ints) -> pa.Table:
    """Some rows; of consecutive ones nothing is copied."""
    if len(rows) == rows[-1] - rows[0] + 1 and (np.diff(rows) > 0).all():
        return table.slice(rows[0], len(rows))
    return table.take(rows)


@contextmanager
def folder_for(out: Path) -> Iterator[Path]:
    """A hidden folder beside a file, for the time of the block; what a killed process left in it goes with it.

    Raises:
        InputError: another process is writing the file.
        StorageError: the folder cannot be made.
    """
    folder = out.with_name(f"{PARTIAL}{out.name}.rows")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        raise InputError(f"{out} is being written by another ingest: wait for it, or name another file") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(handle)


def gather(files: Sequence[Path], folder: Path, progress: Callable[[int], object]) -> Rows:
    """Read the rows of logs.

    Args:
        files: of the logs.
        folder: to spill them to.
        progress: called with the number of rows read so far.

    Raises:
        TraceError: names the file, the line and the field.
        StorageError: the rows cannot be spilled.
    """
    read: list[Piece] = []
    rows = 0
    numbered = ((number, path, piece) for number, path in enumerate(files) for piece in pieces(path))
    calls = (
        partial(_spilled, piece, path, number, folder / f"{at}.arrow")
        for at, (number, path, piece) in enumerate(numbered)
    )
    for spilled in in_order(calls):
        if spilled is not None:
            read.append(spilled)
            rows += len(spilled.keys)
            progress(rows)
    return Rows(
        pa.concat_tables([piece.keys for piece in read]) if read else _keys_schema().empty_table(),
        np.cumsum([0, *(len(piece.keys) for piece in read)]),
        tuple(piece.path for piece in read),
        frozenset(name for piece in read for name in piece.given),
        tuple(dict.fromkeys(name for piece in read for name in piece.unknown)),
        tuple(files),
    )


def _spilled(piece: Block | Chunk, path: Path, number: int, target: Path) -> Piece | None:
    found = chunk(piece, LOG) if isinstance(piece, Block) else piece
    if found is None:
        return None
    columns, size = dict(found.columns), len(found.places)
    _check_certain(columns, found.places, path)
    _name_version(columns)
    has_words = _fill_words(columns, size)
    keys = {name: columns.get(name, pa.nulls(size)).cast(LOG.columns[name].arrow) for name in KEYS}
    keys |= {HAS_WORDS: has_words, FILE: pa.array(np.full(size, number)), PLACE: pa.array(found.places)}
    table = pa.table(columns)
    try:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    except OSError as error:
        raise StorageError(f"{target.parent}: rows cannot be kept there: {error.strerror or error}") from error
    given = tuple(name for name, array in columns.items() if array.null_count < size)
    return Piece(target, pa.table(keys, _keys_schema()), given, found.unknown)


def _keys_schema() -> pa.Schema:
    own = [(name, LOG.columns[name].arrow) for name in KEYS]
    return pa.schema([*own, (HAS_WORDS, pa.bool_()), (FILE, pa.int64()), (PLACE, pa.int64())])


def _check_certain(columns: dict[str, pa.Array], places: Ints, path: Path) -> None:
    for name in CERTAIN:
        if columns[name].null_count:
            at = np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False))[0]
            raise TraceError(
                f"{path}, row {places[at]}, field '{name}': empty, and each row of a log has one: drop the row"
            )


def _name_version(columns: dict[str, pa.Array]) -> None:
    """Traces say by what was decided as logs say a version."""
    version = columns.pop("version", None)
    if version is not None:
        columns["decided_by"] = pc.coalesce(columns["decided_by"], version) if "decided_by" in columns else version


def _fill_words(columns: dict[str, pa.Array], size: int) -> pa.Array:
    """Give rows with neither words nor a prompt no words, which a trace must have, and say which rows have some."""
    absent: NDArray[np.bool_] = np.ones(size, np.bool_)
    for name in ("words", "prompt"):
        if name in columns:
            absent &= columns[name].is_null().to_numpy(zero_copy_only=False)
    if absent.any():
        words = columns.get("words", pa.nulls(size, COLUMNS["words"].arrow))
        columns["words"] = pc.if_else(pa.array(absent), EMPTY, words)
    return pa.array(~absent)
