"""The ten features of many prompts at once, from counts that were taken before: part B of the graph, run alone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from features.bags import Bags, Encoder, Ints
from features.graph import REQUEST_INPUTS, assemble, counts_to_features, session
from features.vocabulary import VocabularySums


@dataclass(frozen=True, slots=True)
class Tally:
    """What N requests count, before any vocabulary.

    Attributes:
        words, numbers, symbols: int64[N], of the prompt.
        context_bytes, tool_count, turn_count: int64[N].
    """

    words: Ints
    numbers: Ints
    symbols: Ints
    context_bytes: Ints
    tool_count: Ints
    turn_count: Ints

    def take(self, rows: NDArray[np.integer]) -> Tally:
        """The counts of some requests, in that order."""
        return Tally(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})


def word_counts(bags: Bags, encoder: Encoder) -> dict[str, Ints]:
    """Words, numbers and symbols in each prompt, int64[N] by name."""
    members = encoder.members()
    sums: dict[str, list[Ints]] = {name: [] for name in ("words", *members)}
    for _, part in bags.slices():
        sums["words"].append(part.row_sums(part.counts))
        for name, is_member in members.items():
            sums[name].append(part.row_sums(np.where(is_member[part.ids], part.counts, 0)))
    return {name: np.concatenate(pieces) for name, pieces in sums.items()}


def measure(tally: Tally, sums: VocabularySums) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features float32[N, 10] and evidence float32[N], by the nodes that serving runs."""
    high = np.zeros_like(sums.weights)
    counts = {
        "occurrences": np.column_stack([tally.words, tally.numbers, tally.symbols, sums.known]).astype(np.float64),
        "distinct_sums": np.column_stack([sums.distinct, sums.weights, high]).astype(np.int32),
    }
    inputs = {name: getattr(tally, name) for name in REQUEST_INPUTS}
    features, evidence = _session().run(["features", "evidence"], counts | inputs)
    return features, evidence


@cache
def _session() -> onnxruntime.InferenceSession:
    inputs = ("occurrences", "distinct_sums", *REQUEST_INPUTS)
    return session(assemble([counts_to_features(folds=1)], inputs, ("features", "evidence"), {}))
