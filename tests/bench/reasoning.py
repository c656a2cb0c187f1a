"""Words that ask for thinking: what a hostile caller would stuff a prompt with, and a feature that was tried."""

from __future__ import annotations

import numpy as np

from features.bags import Ints
from pipeline.traces import Traces

REASONING_WORDS = (
    "analyse", "analyze", "calculate", "compare", "compute", "debug", "deduce", "derive", "determine", "estimate",
    "evaluate", "explain", "infer", "justify", "minimize", "optimize", "prove", "reason", "refactor", "show",
    "simplify", "solve", "verify", "why",
)  # fmt: skip


def occurrences(traces: Traces) -> Ints:
    """How often each prompt has one of the words, int64[N]."""
    asks = np.array([word.lower() in REASONING_WORDS for word in traces.encoder.lexicon])
    return traces.bags.row_sums(asks[traces.bags.ids] * traces.bags.counts)
