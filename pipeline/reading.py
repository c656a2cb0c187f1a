"""Trace files of three formats, read in pieces: every cell checked, every complaint with its place."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.bags import Ints
from features.errors import TraceError
from pipeline.schema import (
    LARGEST_PROMPT_BYTES,
    LATEST_SECOND,
    TIERS,
    TRACES,
    Cell,
    Column,
    Layout,
    attempts,
    chance,
    known_columns,
    share,
    text,
    tier,
    time,
)

ROWS_AT_ONCE = 8192
LARGEST_LINE_BYTES = 64_000_000
SHOWN_CHARACTERS = 60
# Times that pyarrow and Python read alike.
PLAIN_TIME = r"^[12]\d{3}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a file.

    Attributes:
        columns: the columns of the layout that the file has.
        unknown: names of the file's other columns.
        places: row number of each row, from 1; line number in text formats.
    """

    columns: dict[str, pa.Array]
    unknown: tuple[str, ...]
    places: Ints


def read(path: Path, layout: Layout = TRACES) -> Iterator[Chunk]:
    """The rows of a `.parquet`, `.jsonl`, `.ndjson` or `.csv` file, some thousand at a time.

    Args:
        path: of the file.
        layout: what it may hold.

    Raises:
        TraceError: names the file, the row or line, and the field.
    """
    readers: dict[str, Callable[[Path, Layout], Iterator[Chunk]]] = {
        ".parquet": _parquet, ".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise TraceError(f"{path}: expected a file that ends in {', '.join(readers)}")
    try:
        yield from readers[path.suffix.lower()](path, layout)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parquet(path: Path, layout: Layout) -> Iterator[Chunk]:
    with path.open("rb") as source, _complaints_about(path):
        file = pq.ParquetFile(source)
        known, unknown = known_columns(file.schema_arrow.names, str(path), layout)
        done = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=known):
            places = np.arange(done + 1, done + 1 + len(batch))
            yield of_arrays(dict(zip(known, batch.columns, strict=True)), tuple(unknown), places, path, layout)
            done += len(batch)


def of_arrays(
    arrays: Mapping[str, pa.Array], unknown: tuple[str, ...], places: Ints, path: Path, layout: Layout
) -> Chunk:
    """Rows of arrays, checked.

    Args:
        arrays: by columns of the layout.
        unknown: names of other columns.
        places: row number of each row.
        path: that complaints name.
        layout: of the file.

    Raises:
        TraceError: names the file, the row and the field.
    """
    columns = {name: _checked(layout.columns[name], array, places, path) for name, array in arrays.items()}
    return Chunk(columns, unknown, places)


@contextmanager
def _complaints_about(path: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise TraceError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}): export it again"
        ) from error


def _checked(column: Column, cells: pa.Array, places: Ints, path: Path) -> pa.Array:
    """A Parquet column in the schema's type: converted whole where that is safe, else cell by cell."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        _check_utf8(column, cells, places, path)
    if pa.types.is_null(cells.type):
        return cells.cast(column.arrow)
    if _plainly_good(column, cells):
        good = cells.cast(column.arrow)
        return pc.if_else(pc.equal(good, ""), None, good) if column.read is text else good
    as_dictionaries = "strict" if pa.types.is_map(cells.type) else None
    return _converted(column, cells.to_pylist(maps_as_pydicts=as_dictionaries), places, path)


def _plainly_good(column: Column, cells: pa.Array) -> bool:
    """Whether a column can be taken over whole, because no cell of its type could be refused."""
    kind = cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.read is text or _plainly_named(column, cells)
    if column.arrow == pa.bool_():
        return bool(pa.types.is_boolean(kind))
    if pa.types.is_map(kind) and column.name == "words":
        return _plainly_counts(cells)
    if pa.types.is_timestamp(kind) and column.read is time and kind.unit in PER_SECOND:
        return _within(cells.cast(pa.int64()), 0, LATEST_SECOND * PER_SECOND[kind.unit])
    if column.arrow == pa.float64():
        return _plainly_real(column, cells)
    return (
        column.arrow == pa.int64()
        and pa.types.is_integer(kind)
        and _within(cells, int(column.read is attempts), 2**53 - 1)
    )


def _plainly_named(column: Column, cells: pa.Array) -> bool:
    given = cells.drop_null()
    if column.read is tier:
        return bool(pc.all(pc.is_in(given, pa.array(TIERS, cells.type))).as_py() is not False)
    if column.read is not time or pc.all(pc.match_substring_regex(given, PLAIN_TIME)).as_py() is False:
        return False
    try:
        return len(cells.cast(column.arrow)) == len(cells)
    except pa.ArrowInvalid:  # such as the 30th of February
        return False


def _plainly_real(column: Column, cells: pa.Array) -> bool:
    if not (pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type)):
        return False
    if pc.all(pc.is_finite(cells)).as_py() is False:
        return False
    most = 1.0 if column.read in (share, chance) else float("inf")
    return _within(cells, 0, most) and not (column.read is chance and pc.any(pc.equal(cells, 0)).as_py())


def _plainly_counts(cells: pa.MapArray) -> bool:
    if not (pa.types.is_string(cells.type.key_type) and pa.types.is_integer(cells.type.item_type)):
        return False
    named = not pc.any(pc.equal(cells.keys, "")).as_py()
    return named and cells.items.null_count == 0 and _within(cells.items, 1, LARGEST_PROMPT_BYTES)


def _within(numbers: pa.Array, least: float, most: float) -> bool:
    extremes = pc.min_max(numbers).as_py()
    return extremes["min"] is None or (extremes["min"] >= least and extremes["max"] <= most)


def _check_utf8(column: Column, cells: pa.Array, places: Ints, path: Path) -> None:
    try:
        cells.validate(full=True)
    except pa.ArrowInvalid:
        for at, place in enumerate(places):
            decoded(
                cells[at].as_buffer().to_pybytes() if cells[at].is_valid else b"",
                f"{path}, row {place}, field '{column.name}'",
            )


def _of_cells(column: Column, cells: list[Cell], places: Ints, path: Path) -> pa.Array:
    """Cells of a text format in the schema's type: names and times whole, where pyarrow takes them, else one by one."""
    if column.read in (text, tier, time):
        with suppress(pa.ArrowException, UnicodeEncodeError):
            return _checked(column, pa.array(cells, pa.string()), places, path)
    return _converted(column, cells, places, path)


def _converted(column: Column, cells: Iterable[Cell], places: Ints, path: Path) -> pa.Array:
    values = []
    for at, cell in enumerate(cells):
        try:
            values.append(column.read(cell))
        except (ValueError, OverflowError, RecursionError) as error:
            raise TraceError(
                f"{path}, row {places[at]}, field '{column.name}': {error}; it holds {_shown(cell)}"
            ) from error
    return pa.array(values, column.arrow)


def _shown(cell: Cell) -> str:
    shown = repr(cell[:SHOWN_CHARACTERS] if isinstance(cell, str) else cell)
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[:SHOWN_CHARACTERS] + "..."


def _jsonl(path: Path, layout: Layout) -> Iterator[Chunk]:
    with path.open("rb") as file:
        lines = ((at, line) for at, line in _lines(file, path) if line.strip())
        while rows := [(at, json_object(line, at, path)) for at, line in islice(lines, ROWS_AT_ONCE)]:
            yield of_rows(rows, list(dict.fromkeys(name for _, row in rows for name in row)), path, layout)


def json_object(line: str, at: int, path: Path) -> dict[str, Cell]:
    """The cells of a line of JSON, by name.

    Raises:
        TraceError: it is no object.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}, row {at}: not a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise TraceError(f"{path}, row {at}: expected a JSON object, got {_shown(row)}")
    return row


def _csv(path: Path, layout: Layout) -> Iterator[Chunk]:
    csv.field_size_limit(LARGEST_LINE_BYTES)
    with path.open("rb") as file:
        table = csv.reader((line for _, line in _lines(file, path)), strict=True)
        try:
            header = next(table, [])
            while rows := [
                (table.line_num, _row(header, cells, table.line_num, path))
                for cells in islice(table, ROWS_AT_ONCE)
                if cells
            ]:
                yield of_rows(rows, header, path, layout)
        except csv.Error as error:
            raise TraceError(
                f"{path}, row {table.line_num}: not readable as CSV ({error}): quote fields with commas"
            ) from error


def _row(header: list[str], cells: list[str], at: int, path: Path) -> dict[str, Cell]:
    """The cells by name; CSV cannot tell an empty one from none."""
    if len(cells) != len(header):
        raise TraceError(f"{path}, row {at}: {len(cells)} fields where the header names {len(header)}")
    return {name: cell or None for name, cell in zip(header, cells, strict=True)}


def of_rows(rows: list[tuple[int, dict[str, Cell]]], names: list[str], path: Path, layout: Layout) -> Chunk:
    """Rows of cells with their numbers, checked.

    Raises:
        TraceError: names the file, the row and the field.
    """
    known, unknown = known_columns(names, str(path), layout)
    places = np.array([at for at, _ in rows], np.int64)
    columns = {
        name: _of_cells(layout.columns[name], [row.get(name) for _, row in rows], places, path) for name in known
    }
    return Chunk(columns, tuple(unknown), places)


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    at = 0
    while line := file.readline(LARGEST_LINE_BYTES):
        at += 1
        if len(line) == LARGEST_LINE_BYTES:
            raise TraceError(f"{path}, row {at}: the line has {LARGEST_LINE_BYTES:,} bytes or more: shorten its prompt")
        yield at, decoded(line.removeprefix(b"\xef\xbb\xbf") if at == 1 else line, f"{path}, row {at}")


def decoded(raw: bytes, place: str) -> str:
    """The text of some UTF-8.

    Raises:
        TraceError: it is none; names the place.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise TraceError(f"{place}: byte {error.start + 1} is not valid UTF-8: save the file as UTF-8") from error
