"""Traces without prompts: figures, and counts of the words that many prompts share.

A word that stands in prompts of fewer than five groups is replaced by a placeholder of its kind, so that no
name, number or phrase of a single prompt is kept. The same router is trained from the result, because no
feature depends on the order of words and rare words never enter the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.bags import Bags, Encoder
from features.errors import StorageError
from features.graph import REQUEST_INPUTS
from features.vocabulary import MINIMUM_GROUPS, word_groups
from features.words import PLACEHOLDERS, kind_of
from pipeline.reading import Chunk, read
from pipeline.schema import COLUMNS
from pipeline.traces import figures, load

TEXT_COLUMNS = ("prompt", "system", "tools", "words")


def anonymise(sources: Sequence[Path], target: Path) -> dict[str, int]:
    """Write the traces of some files as one Parquet file of figures.

    Returns:
        Rows written, distinct words kept and distinct words replaced, by name.

    Raises:
        TraceError: a source cannot be read as traces.
        StorageError: the target cannot be written; what was there before is still there.
    """
    traces = load(sources)
    words = np.array(list(traces.encoder.lexicon), dtype=object)
    groups = word_groups(traces.bags, pd.factorize(traces.group)[0], len(words))
    kept = groups >= MINIMUM_GROUPS
    shown = np.where(kept, words, [PLACEHOLDERS[kind_of(word)] for word in words])
    names = dict(zip(traces.task_id, traces.group, strict=True))
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = _write(partial, _tables(sources, traces.encoder, shown, names))
        partial.replace(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return {"rows": rows, "kept": int(kept.sum()), "replaced": int((~kept).sum())}


def _tables(
    sources: Sequence[Path], encoder: Encoder, shown: NDArray[np.object_], names: dict[str, str]
) -> Iterator[pa.Table]:
    for path in sources:
        for chunk in read(path):
            part = figures(chunk, encoder, path)
            group = [names[task] for task in part["task_id"]]
            yield _table(chunk, part, pa.array(group, pa.string()), _words(part["bags"], shown))


def _table(chunk: Chunk, part: dict[str, NDArray[np.generic]], group: pa.Array, words: pa.Array) -> pa.Table:
    known = {"task_id": pa.array(part["task_id"], pa.string()), "group": group, "words": words}
    derived = {name: pa.array(part[name]) for name in REQUEST_INPUTS}
    columns = {name: array for name, array in chunk.columns.items() if name not in TEXT_COLUMNS} | known | derived
    return pa.table({name: columns[name] for name in COLUMNS if name in columns})


def _words(bags: Bags, shown: NDArray[np.object_]) -> pa.Array:
    """The counts of each row in the order of the words, as a map."""
    frame = pd.DataFrame({"row": bags.rows, "word": shown[bags.ids], "count": bags.counts})
    summed = frame.groupby(["row", "word"], sort=True)["count"].sum().reset_index()
    starts = np.searchsorted(summed["row"].to_numpy(), np.arange(len(bags) + 1))
    return pa.MapArray.from_arrays(
        pa.array(starts, pa.int32()), pa.array(summed["word"], pa.string()), pa.array(summed["count"], pa.int32())
    )


def _write(path: Path, tables: Iterator[pa.Table]) -> int:
    """One file with the columns of the first table, into whose types later ones are brought; returns the rows."""
    writer, rows = None, 0
    try:
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(
                    path, table.schema, compression="zstd", compression_level=19, write_statistics=False
                )
            writer.write_table(table.cast(writer.schema))
            rows += len(table)
    finally:
        if writer is not None:
            writer.close()
    return rows
