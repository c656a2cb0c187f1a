"""Which part a trace belongs to: fit, tune or test; and kinds of task held out to see how far it carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import LearningError
from pipeline.traces import Traces

# An interval over more rows is no news, and takes its time.
MOST_MEASURED = 50_000
PARTS = ("fit", "tune", "test")
FIFTHS = ("fit", "fit", "fit", "tune", "test")
GROUP_RULE = "8-byte BLAKE2b of '{seed}:{group}' in UTF-8, as a big-endian integer, modulo 5: 0-2 fit, 3 tune, 4 test"
TIME_RULE = "newest time of the group before the first cut: fit; before the second: tune; else test"


@dataclass(frozen=True, slots=True)
class Parts:
    """Row numbers of each part, ascending, and the rule that gave them."""

    fit: Ints
    tune: Ints
    test: Ints
    rule: dict[str, object]

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {name: len(getattr(self, name)) for name in PARTS}


def part_of(group: str, seed: int) -> str:
    """The part of a group: the same over shards, months and commands."""
    hashed = hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).digest()
    return FIFTHS[int.from_bytes(hashed, "big") % len(FIFTHS)]


def split(traces: Traces, rule: dict[str, object]) -> Parts:
    """Apply a rule, as `by_group` and `by_time` make them and a manifest holds them."""
    if rule["by"] == "group":
        codes, groups = pd.factorize(traces.group)
        names = np.array([part_of(group, int(str(rule["seed"]))) for group in groups], dtype=object)[codes]
    else:
        _check_times(traces)
        cuts = np.array(rule["cuts"], dtype="datetime64[us]")
        newest = pd.Series(traces.time).groupby(pd.factorize(traces.group)[0]).transform("max").to_numpy()
        names = np.array(PARTS, dtype=object)[np.searchsorted(cuts, newest.astype("datetime64[us]"), side="right")]
    fit, tune, test = (np.flatnonzero(names == name) for name in PARTS)
    return Parts(fit, tune, test, rule)


def by_group(seed: int) -> dict[str, object]:
    """Three fifths of the groups to fit, one to tune, one to test."""
    return {"by": "group", "seed": seed, "definition": GROUP_RULE}


def by_time(traces: Traces) -> dict[str, object]:
    """The oldest three fifths of the traces to fit, the next fifth to tune, the newest to test.

    Raises:
        LearningError: a trace has no time.
    """
    _check_times(traces)
    cuts = np.sort(traces.time)[[len(traces) * 3 // 5, len(traces) * 4 // 5]]
    return {"by": "time", "cuts": [str(cut) for cut in cuts], "definition": TIME_RULE}


def _check_times(traces: Traces) -> None:
    missing = np.flatnonzero(np.isnat(traces.time))
    if len(missing):
        raise LearningError(
            f"{traces.source}: a split by time needs the time of every trace; task {traces.task_id[missing[0]]!r} has "
            f"none ({len(missing):,} of {len(traces):,}): fill the column 'time', or split by group"
        )


def drawn(count: int, seed: int, most: int = MOST_MEASURED) -> Ints:
    """At most so many of `count` rows, drawn by the seed: int64[min(count, most)], ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def folds(groups: NDArray[np.object_], labels: Ints, count: int, seed: int) -> Ints:
    """A fold for each row, int64[N] in [0, count): groups whole, labels spread evenly, shuffled by the seed.

    The label of a group is that of its first row.
    """
    codes, names = pd.factorize(groups)
    first = np.full(len(names), -1)
    first[codes[::-1]] = labels[::-1]
    shuffled = np.random.default_rng(seed).permutation(len(names))
    fold = np.empty(len(names), np.int64)
    start = 0
    for label in np.unique(first):
        members = shuffled[first[shuffled] == label]
        fold[members] = (start + np.arange(len(members))) % count
        start += len(members)
    return fold[codes]


def category_folds(categories: NDArray[np.object_], count: int, seed: int) -> Ints:
    """A fold for each row, int64[N] in [0, count), such that no category stands in two; drawn by the seed.

    There are as many folds as categories where these are fewer than `count`.
    """
    codes, names = pd.factorize(categories)
    return np.asarray(np.random.default_rng(seed).permutation(len(names))[codes] % min(count, len(names)))
