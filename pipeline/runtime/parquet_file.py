"""Parquet files of a decision log, made of its JSON lines.

All but the last step works on JSON lines, so that a crash costs a Parquet log no more than the other one. pyarrow
reads and writes whole files without Python's lock, so that decisions go on meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Columns of a decision that trace files do not have.
TEXTS = ("version", "reason")
REALS = ("gain", "threshold", "evidence", "flash_probability", "pro_probability")
BYTES_AT_ONCE = 4_000_000
TIMES = "words.times"  # of each word, in the lines


class UnreadableLinesError(ValueError):
    """Lines that are not those of `storable` rows."""


def storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row in JSON values of its columns' types, so that one row cannot spoil the file of all others.

    Columns that neither trace files nor decisions have become JSON text.

    Raises:
        ValueError, TypeError: a value is none of its column.
    """
    from pipeline.schema import COLUMNS

    values: dict[str, Any] = {}
    for name, value in row.items():
        if name == "words":  # Arrow's reader of JSON knows no maps
            values |= {"words": list(value), TIMES: list(value.values())}
        elif value is not None:
            values[name] = COLUMNS[name].read(value) if name in COLUMNS else _other(name, value)
    if isinstance(at := values.get("time"), datetime):
        values["time"] = at.isoformat()
    return values


def _other(name: str, value: Any) -> Any:
    if name in REALS:
        return float(value)
    return str(value) if name in TEXTS else json.dumps(value, ensure_ascii=False)


def convert(lines: Path, target: Path) -> None:
    """Write the Parquet file of some lines. Columns without a value are left out; words are a map.

    Raises:
        UnreadableLinesError: the lines cannot be read.
        OSError: the target cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with lines.open("rb") as file:
            pieces = [_table(b"".join(some)) for some in iter(lambda: file.readlines(BYTES_AT_ONCE), [])]
        table = pa.concat_tables(pieces, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UnreadableLinesError(str(error)) from error
    table = table.drop_columns([name for name in table.column_names if table[name].null_count == len(table)])
    parquet.write_table(table, target, compression="zstd")


def _table(lines: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import json as pyarrow_json

    from pipeline.schema import COLUMNS, WORDS

    lists = {"words": pa.list_(WORDS.key_type), TIMES: pa.list_(WORDS.item_type)}
    kinds = {name: column.arrow for name, column in COLUMNS.items()}
    kinds |= dict.fromkeys(REALS, pa.float64()) | dict.fromkeys(TEXTS, pa.string())
    at_once = pyarrow_json.ReadOptions(use_threads=False, block_size=len(lines))
    known = pyarrow_json.ParseOptions(explicit_schema=pa.schema(kinds | lists))
    table = pyarrow_json.read_json(pa.BufferReader(lines), at_once, known)
    words, times = (pa.concat_arrays(table[name].chunks) for name in lists)
    counts = pa.MapArray.from_arrays(words.offsets, words.values, times.values, WORDS, mask=words.is_null())
    return table.drop_columns(list(lists)).append_column("words", counts)
