"""Which log rows say something about the tiers: the one place where that is decided.

A row does where the tier that the router chose is the one that answered, by a probability that is known. Where a hard
limit, a fall-back or a doubt decided, whoever answers does so for reasons that the probability does not know. In the
evidence such rows have no propensity, so that `chosen`, `served` and `propensity` alone say it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.ingest.spill import HAS_WORDS
from pipeline.runtime.decision import TIERS

LIMITS = ("context", "output", "tools", "modality", "realtime")
FAILED = ("unreadable", "error")
# Reasons for a row not to be used, the first that holds. Each is a sentence's end: "the row is not used: ...".
TWICE = "its id stands for two decisions"
LIMITED = "a limit decided"
UNSCORED = "it was not scored"
UNANSWERED = "no tier answered"
ELSEWHERE = "another tier answered than was chosen"
UNCERTAIN = "a fall-back or an escalation came between"
UNKNOWN = "its propensity is not known"
WORDLESS = "its words are not known"


def why_not(keys: pa.Table, contradicted: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Why each row must not be used for estimates, text[N]; None where it may be.

    Args:
        keys: of N log rows.
        contradicted: bool[N], whether its id stands for another decision too.
    """
    served, chosen = tiers(keys["served"]), tiers(keys["chosen"])
    reasons = (
        (TWICE, contradicted),
        (LIMITED, _one_of(keys["reason"], LIMITS)),
        (UNSCORED, _one_of(keys["reason"], FAILED)),
        (UNANSWERED, served < 0),
        (ELSEWHERE, served != chosen),
        (UNCERTAIN, _given(keys["fallback"]) | _given(keys["escalated"])),
        (UNKNOWN, ~_given(keys["propensity"])),
        (WORDLESS, ~keys[HAS_WORDS].to_numpy()),
    )
    found = np.full(len(keys), None, dtype=object)
    for reason, holds in reversed(reasons):
        found[holds] = reason
    return found


def tiers(column: pa.ChunkedArray) -> Ints:
    """Places of tiers in `TIERS`, int64[N], -1 for none."""
    return np.asarray(pc.index_in(column, value_set=pa.array(TIERS)).fill_null(-1).to_numpy()).astype(np.int64)


def _one_of(column: pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.asarray(pc.is_in(column, value_set=pa.array(names)).to_numpy())


def _given(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy())
