"""Lines of JSON as checked columns: a block of them at once where all are plain, else cell by cell.

pyarrow reads JSON without Python's lock, but knows no maps, so that word counts in braces are read before. What it
refuses is read once more by `pipeline.reading`, which knows more ways to write a value and names the line of what is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import json as pyarrow_json

from features.errors import TraceError
from pipeline.ingest.braces import NotPlainError, cut
from pipeline.ingest.layouts import LISTS
from pipeline.reading import LARGEST_LINE_BYTES, Chunk, decoded, json_object, of_arrays, of_rows
from pipeline.runtime.parquet_file import TIMES
from pipeline.schema import TEXT, WORDS, Layout, known_columns, time

BLOCK_BYTES = 8_000_000
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines of a file: their bytes, and the number of the first."""

    path: Path
    first: int
    lines: bytes


def blocks(path: Path, *, growing: bool) -> Iterator[Block]:
    """The lines of a file, some megabytes at a time.

    Args:
        path: of the file.
        growing: it is being written, or its machine lost power: what is no whole line is none, nor what follows a NUL.

    Raises:
        OSError: it cannot be read.
        TraceError: a line is longer than any may be.
    """
    with path.open("rb") as file:
        first, rest = 1, file.read(len(BOM)).removeprefix(BOM)
        while block := file.read(BLOCK_BYTES):
            good, nul, _ = (rest + block).partition(b"\0") if growing else (rest + block, b"", b"")
            whole = good.rfind(b"\n") + 1
            if len(good) - whole >= LARGEST_LINE_BYTES:
                raise TraceError(f"{path}, row {first}: the line has {LARGEST_LINE_BYTES:,} bytes or more")
            if whole:
                yield Block(path, first, good[:whole])
            first, rest = first + good.count(b"\n", 0, whole), good[whole:]
            if nul:
                return
    if rest and not growing:
        yield Block(path, first, rest)


def chunk(block: Block, layout: Layout) -> Chunk | None:
    """The rows of a block; None where there are none.

    Raises:
        TraceError: names the file, the line and the field.
    """
    numbered = [(at, line) for at, line in enumerate(block.lines.split(b"\n"), block.first) if line.strip()]
    if not numbered:
        return None
    places = np.array([at for at, _ in numbered], np.int64)
    try:
        return _at_once([line for _, line in numbered], places, block.path, layout)
    except (NotPlainError, pa.ArrowInvalid, pa.ArrowTypeError, UnicodeDecodeError):
        return _cell_by_cell(numbered, block.path, layout)


def _at_once(lines: list[bytes], places: np.ndarray[Any, Any], path: Path, layout: Layout) -> Chunk:
    lines = [line.strip() for line in lines]
    if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        raise NotPlainError
    lines, counts = cut(lines)
    block = b"\n".join(lines)
    block.decode()  # pyarrow does not look
    kinds = {name: TEXT if column.read is time else column.arrow for name, column in layout.columns.items()}
    options = pyarrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    known = pyarrow_json.ParseOptions(explicit_schema=pa.schema(kinds | LISTS if "words" in kinds else kinds))
    table = pyarrow_json.read_json(pa.BufferReader(block), options, known)
    if len(table) != len(lines):
        raise NotPlainError
    needed = {name for either in layout.needed for name in either}
    given = (name for name in table.column_names if _is_given(table, name, block if name in needed else b""))
    present = {name: table[name].combine_chunks() for name in given}
    times = present.pop(TIMES, None)
    if "words" in kinds and "words" in present:  # of a Parquet log that is no Parquet yet
        present["words"] = _counts(present["words"], table[TIMES].combine_chunks() if times is None else times)
    if counts is not None and "words" in present:
        raise NotPlainError
    if counts is not None:
        counts.keys.validate(full=True)
        present["words"] = counts
    _, unknown = known_columns(present, str(path), layout)
    arrays = {name: array for name, array in present.items() if name in layout.columns}
    return of_arrays(arrays, tuple(unknown), places, path, layout)


def _is_given(table: pa.Table, name: str, lines: bytes) -> bool:
    """Whether a column has a value or is named in some lines, and is not there only because pyarrow was told of it."""
    return bool(table[name].null_count < len(table)) or b'"%b"' % name.encode() in lines


def _counts(words: pa.ListArray, times: pa.ListArray) -> pa.MapArray:
    """Word counts of two lists.

    Raises:
        NotPlainError: they do not fit each other, or something is missing in them.
    """
    if not words.offsets.equals(times.offsets) or words.values.null_count or times.values.null_count:
        raise NotPlainError
    return pa.MapArray.from_arrays(words.offsets, words.values, times.values, WORDS, mask=words.is_null())


def _cell_by_cell(numbered: list[tuple[int, bytes]], path: Path, layout: Layout) -> Chunk:
    rows = []
    for at, line in numbered:
        row = json_object(decoded(line, f"{path}, row {at}"), at, path)
        if isinstance(times := row.pop(TIMES, None), list) and isinstance(row.get("words"), list):
            if len(times) != len(row["words"]):
                raise TraceError(f"{path}, row {at}, field 'words': {len(row['words'])} words and {len(times)} counts")
            row["words"] = list(zip(row["words"], times, strict=True))
        rows.append((at, row))
    return of_rows(rows, list(dict.fromkeys(name for _, row in rows for name in row)), path, layout)
