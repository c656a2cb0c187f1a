"""Generated traces for the scale measurement, and for nothing else: they say nothing about quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.random import Generator
from scipy.special import expit

VOCABULARY = 50_000
MEAN_WORDS, LEAST_WORDS, MOST_WORDS = 100, 50, 150
CATEGORIES = 20
ROWS_AT_ONCE = 20_000
HARD_SHARE, EASY_SHARE = 0.02, 0.02
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write(path: Path, rows: int, seed: int = 0) -> None:
    """Traces whose words follow Zipf's law; some words and the length move the outcomes. Written piece by piece."""
    random = np.random.default_rng(seed)
    words = pa.array(_words())
    chances = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    shifts = random.choice([-1.0, 1.0, 0.0], VOCABULARY, p=[HARD_SHARE, EASY_SHARE, 1 - HARD_SHARE - EASY_SHARE])
    writer = None
    for start in range(0, rows, ROWS_AT_ONCE):
        table = _piece(start, min(ROWS_AT_ONCE, rows - start), words, chances / chances[-1], shifts, random)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _words() -> list[str]:
    """Distinct strings of letters, the most frequent words the shortest."""
    words = []
    for number in range(1, VOCABULARY + 1):
        letters, rest = "", number
        while rest:
            rest, letter = divmod(rest - 1, len(LETTERS))
            letters = LETTERS[letter] + letters
        words.append(letters)
    return words


def _piece(
    start: int, rows: int, words: pa.Array, chances: np.ndarray, shifts: np.ndarray, random: Generator
) -> pa.Table:
    sizes = random.integers(LEAST_WORDS, MOST_WORDS + 1, rows)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ids = np.searchsorted(chances, random.random(starts[-1]))
    ease = np.add.reduceat(shifts[ids], starts[:-1]) / 2 - (sizes - MEAN_WORDS) / MEAN_WORDS
    texts = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), words.take(pa.array(ids))), " ")
    categories = random.integers(0, CATEGORIES, rows)
    return pa.table(
        {
            "task_id": [f"generated/{number}" for number in range(start, start + rows)],
            "category": [f"kind {number}" for number in categories],
            "prompt": texts,
            "flash_correct": random.random(rows) < expit(ease),
            "pro_correct": random.random(rows) < expit(1.5 + ease / 2),
        }
    )
