"""Traces without prompts: figures, and counts of the words that many prompts share.

A word that stands in prompts of fewer than five groups is replaced by a placeholder of its kind, so that no
name, number or phrase of a single prompt is kept. The same router is trained from the result, because no
feature depends on the order of words and rare words never enter the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.bags import Bags, Encoder
from features.graph import REQUEST_INPUTS
from features.vocabulary import MINIMUM_GROUPS, word_groups
from features.words import PADDING, PLACEHOLDERS, kind_of
from pipeline.beside import replacing
from pipeline.reading import Chunk, read
from pipeline.schema import COLUMNS
from pipeline.traces import figures, load

TEXT_COLUMNS = ("prompt", "system", "tools", "words")


def anonymise(sources: Sequence[Path], target: Path) -> dict[str, int]:
    """Write the traces of some files as one Parquet file of figures.

    Ids, groups and categories that the files give are copied; where they give none, running numbers are written,
    because a group found by the words of its prompts would tell of the words that were replaced.

    Returns:
        Rows written, distinct words kept and distinct words replaced, by name.

    Raises:
        TraceError: a source cannot be read as traces.
        StorageError: the target cannot be written; what was there before is still there.
    """
    traces = load(sources)
    words = np.array(list(traces.encoder.lexicon), dtype=object)
    codes, _ = pd.factorize(traces.group)
    kept = word_groups(traces.bags, codes, len(words)) >= MINIMUM_GROUPS
    shown = np.where(kept, words, [PLACEHOLDERS[kind_of(word)] for word in words])
    numbers = dict(zip(traces.task_id, codes.tolist(), strict=True))
    table = pa.concat_tables(_tables(sources, traces.encoder, shown, numbers), promote_options="permissive")
    with replacing(target) as partial:
        pq.write_table(table, partial, compression="zstd", compression_level=19, write_statistics=False)
    seen = words != PADDING
    return {"rows": len(table), "kept": int((kept & seen).sum()), "replaced": int((~kept & seen).sum())}


def _tables(
    sources: Sequence[Path], encoder: Encoder, shown: NDArray[np.object_], numbers: dict[str, int]
) -> Iterator[pa.Table]:
    rows = 0
    for path in sources:
        for chunk in read(path):
            part = figures(chunk, encoder, path)
            size = len(chunk.places)
            names = {
                "task_id": [f"task/{rows + at}" for at in range(size)],
                "group": [f"group/{numbers[task]}" for task in part["task_id"]],
            }
            rows += size
            yield _table(chunk, part, names, _words(part["bags"], shown))


def _table(
    chunk: Chunk, part: dict[str, NDArray[np.generic]], names: dict[str, list[str]], words: pa.Array
) -> pa.Table:
    size = len(chunk.places)
    given = {name: chunk.columns.get(name, pa.nulls(size, pa.string())) for name in names}
    named = {name: pc.coalesce(given[name], pa.array(numbered)) for name, numbered in names.items()}
    derived = {name: pa.array(part[name]) for name in REQUEST_INPUTS}
    kept = {name: array for name, array in chunk.columns.items() if name not in TEXT_COLUMNS}
    columns = {**kept, **named, "words": words, **derived}
    return pa.table({name: columns[name] for name in COLUMNS if name in columns})


def _words(bags: Bags, shown: NDArray[np.object_]) -> pa.Array:
    """The counts of each row in the order of the words, as a map."""
    frame = pd.DataFrame({"row": bags.rows, "word": shown[bags.ids], "count": bags.counts})
    summed = frame.groupby(["row", "word"], sort=True)["count"].sum().reset_index()
    starts = np.searchsorted(summed["row"].to_numpy(), np.arange(len(bags) + 1))
    return pa.MapArray.from_arrays(
        pa.array(starts, pa.int32()), pa.array(summed["word"], pa.string()), pa.array(summed["count"], pa.int32())
    )
