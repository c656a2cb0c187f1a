"""Which traces a retune learns from, which it chooses by, and which it is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.bags import Ints
from pipeline import parts
from pipeline.traces import Traces


@dataclass(frozen=True, slots=True)
class Division:
    """Row numbers, ascending.

    Attributes:
        fit: to learn from, of any age.
        recent: newest of the tune part, to choose by.
        judged: newest of the test part, and all of the newest audit: what neither router has seen.
        newest: all that is new, to look for drift in.
        tune, test: of the parts, with outcomes of both tiers, of any age.
    """

    fit: Ints
    recent: Ints
    judged: Ints
    newest: Ints
    tune: Ints
    test: Ints


def divide(traces: Traces, rule: Mapping[str, Any], newest_days: float) -> Division:
    """Divide traces by the split of the champion, so that what was held out stays held out.

    The newest audit is what a challenger is judged on, so its groups are left out of fitting and choosing; it is
    learned from once a newer one has come.

    Args:
        traces: labelled traces, audited tasks, logged decisions.
        rule: of the split, as the champion's manifest holds it.
        newest_days: that count as newest, back from the newest logged decision.
    """
    divided = parts.split(traces, dict(rule))
    logged, both = traces.chosen >= 0, traces.both_observed
    newest = _newest(traces, logged, newest_days)
    audited = newest & both & ~logged
    kept = ~_of_groups(traces, audited)
    rows = {name: _mask(getattr(divided, name), len(traces)) for name in parts.PARTS}
    return Division(
        fit=np.flatnonzero(rows["fit"] & kept),
        recent=np.flatnonzero(rows["tune"] & kept & newest),
        judged=np.flatnonzero((rows["test"] & newest) | audited),
        newest=np.flatnonzero(newest),
        tune=np.flatnonzero(rows["tune"] & kept & both),
        test=np.flatnonzero(rows["test"] & kept & both),
    )


def _newest(traces: Traces, logged: np.ndarray[Any, Any], days: float) -> np.ndarray[Any, Any]:
    times = traces.time[logged & ~np.isnat(traces.time)]
    if not len(times):
        return np.asarray(logged)
    since = times.max() - np.timedelta64(round(days * 86_400), "s")
    return np.asarray(np.where(np.isnat(traces.time), False, traces.time > since))


def _of_groups(traces: Traces, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whether a row is of a group that some rows are of."""
    return np.asarray(pd.Series(traces.group).isin(set(traces.group[rows].tolist())).to_numpy())


def _mask(rows: Ints, size: int) -> np.ndarray[Any, Any]:
    mask = np.zeros(size, np.bool_)
    mask[rows] = True
    return mask
