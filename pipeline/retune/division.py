"""Which traces a retune learns from, which it chooses by, and which it is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.bags import Ints
from pipeline import parts
from pipeline.evidence import Mask
from pipeline.traces import Traces

SEED_WITHOUT_GROUPS = 0


@dataclass(frozen=True, slots=True)
class Division:
    """Row numbers, ascending, and the rule they were divided by.

    Attributes:
        fit: to learn from, of any age: the fit part, logged outcomes of the tune part, and, where nothing is held out,
            all of which both outcomes are known.
        asked: newest logged decisions of the test part, which nothing is learned from. What they ask is looked at to
            choose a threshold; outcomes are not.
        judged: newest logged decisions of the test part, and the newest audit: what the challenger has not learned
            from. Where a group comes again, the champion may have, which counts in its favour.
        newest: all that is as new as the newest logged decisions, to look for drift in.
        tune, test: of the parts, with outcomes of both tiers, of any age.
        rule: of the parts, as a manifest holds it.
    """

    fit: Ints
    asked: Ints
    judged: Ints
    newest: Ints
    tune: Ints
    test: Ints
    rule: Mapping[str, object]


def divide(
    traces: Traces, audit: Mask, rule: Mapping[str, Any], newest_days: float, *, hold_out: bool = True
) -> Division:  # fmt: skip
    """Divide traces by the split of the champion, so that what was held out stays held out.

    The newest audit is what a challenger is judged on, so its groups are in no other part: not to learn from, not to
    tune or test by, and not to be judged by logs a second time. An audit is learned from once a newer one has come.

    What was split by time is divided by the hash of the group all the same: all new logs would be after the last cut,
    and nothing would be left to learn from. Such a champion was fitted on labelled traces, of which none is judged on.

    Tasks with both outcomes are few, and tell most: in the replayed year regret was 0.74 and not 0.92 where those of
    the tune and test parts were learned from too. They can still be tuned and tested by, each as the vocabulary without
    its own group sees it; only a certificate asks for rows that not even the heads have seen.

    Args:
        traces: labelled traces, audited tasks, logged decisions.
        audit: bool[N], which of them are of an audit.
        rule: of the split, as the champion's manifest holds it.
        newest_days: that count as newest, back from the newest logged decision; of an audit, back from its newest task.
        hold_out: whether tasks of the tune and test parts are not learned from, as a certificate asks.
    """
    by_group = dict(rule) if rule["by"] == "group" else parts.by_group(SEED_WITHOUT_GROUPS)
    divided = parts.split(traces, by_group)
    fit, tune, test = (_mask(getattr(divided, name), len(traces)) for name in parts.PARTS)
    both, logged = traces.both_observed, (traces.chosen >= 0) & ~audit
    newest, latest_audit = _newest(traces, logged, newest_days), audit & _newest(traces, audit, newest_days)
    free = ~_of_groups(traces, latest_audit)
    held = (tune | test) & free & both
    one_outcome = logged & (np.isnan(traces.outcomes).sum(1) == 1)
    more = tune & one_outcome & ~_of_groups(traces, held) if hold_out else (tune & one_outcome) | held
    judged = (test & logged & newest & free) | (latest_audit & both)
    return Division(
        fit=np.flatnonzero((fit | (more & ~_of_groups(traces, judged))) & free),
        asked=np.flatnonzero(test & logged & newest & free),
        judged=np.flatnonzero(judged),
        newest=np.flatnonzero(newest),
        tune=np.flatnonzero(tune & held),
        test=np.flatnonzero(test & held),
        rule=by_group,
    )


def _newest(traces: Traces, some: Mask, days: float) -> Mask:
    """Rows from so many days before the newest of some on; these, where none of them has a time."""
    times = traces.time[some & ~np.isnat(traces.time)]
    if not len(times):
        return some
    since = times.max() - np.timedelta64(round(days * 86_400), "s")
    return np.asarray(np.where(np.isnat(traces.time), False, traces.time > since))


def _of_groups(traces: Traces, rows: Mask) -> Mask:
    """Whether a row is of a group that some rows are of."""
    return np.asarray(pd.Series(traces.group).isin(set(traces.group[rows].tolist())).to_numpy())


def _mask(rows: Ints, size: int) -> Mask:
    mask = np.zeros(size, np.bool_)
    mask[rows] = True
    return mask
