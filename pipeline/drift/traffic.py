"""Whether a month's requests are still those that the router was chosen on; outcomes are not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from features.bags import Ints
from features.graph import FEATURES, LOGARITHMS
from pipeline.drift.distance import Mean, bins, counted, homogeneity, one_per_group, psi, same_mean, told_apart
from pipeline.drift.finding import Finding
from pipeline.evidence import Evidence
from pipeline.metrics import Reals
from pipeline.observed import Observed

TOPIC = "requests"
FEWEST_GROUPS = 100
MOVED_PSI = 0.1  # below it a distribution is by convention called stable (Siddiqi 2006, Credit Risk Scorecards)
MOVED_SHARE = 0.02
# What an AUC comes to where one request in ten is of a kind that never was before, and the others are as they were.
MOVED_AUC = 0.05
NEW = "kinds that were not there before"
# Who reads the finding knows these words; `word_count` is a function of `prompt_size`, so its bins hold the same rows.
TOLD = {
    "prompt_size": ("Words in the prompt", "count", "The typical prompt has {now} words; it had {before}."),
    "context_size": ("Bytes of context", "count", "Beside the prompt there are {now} bytes; it was {before}."),
    "tool_count": ("Tools offered", "count", "A typical request offers {now} tools; it offered {before}."),
    "turn_count": ("Messages", "count", "A typical request has {now} messages; it had {before}."),
    "digit_share": ("Numbers", "share", "Of a prompt's words {now} are numbers; it was {before}."),
    "symbol_share": ("Code and mathematics", "share", "Of a prompt's words {now} are symbols; it was {before}."),
    "distinct_share": ("Words that differ", "share", "Of the known words {now} are different ones; it was {before}."),
    "flash_vocabulary": ("Flash's words", "shift", "The words speak for flash by {now} in log-odds; it was {before}."),
    "pro_vocabulary": ("Pro's words", "shift", "The words speak for pro by {now} in log-odds; it was {before}."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """The reference and a month, and a row of each of their groups."""

    before: Observed
    now: Observed
    before_rows: Ints
    now_rows: Ints
    seed: int

    @classmethod
    def of(cls, before: Evidence, now: Evidence, seed: int) -> Pair:
        """Draw the rows."""
        random = np.random.default_rng(seed)
        rows = [one_per_group(each.rows.groups, random) for each in (before, now)]
        return cls(before.rows, now.rows, rows[0], rows[1], seed)

    @property
    def enough(self) -> bool:
        """Whether both have groups enough to be compared."""
        return min(len(self.before_rows), len(self.now_rows)) >= FEWEST_GROUPS


def requests(pair: Pair) -> Iterator[Finding]:
    """Every feature by itself, words the router does not know, kinds of task, and all of it together."""
    for at, feature in enumerate(FEATURES):
        if feature in TOLD:
            yield _feature(feature, pair.before.features[pair.before_rows, at], pair.now.features[pair.now_rows, at])
    yield _unknown_words(pair)
    yield from _kinds(pair)
    yield _together(pair)


def _feature(name: str, before: Reals, now: Reals) -> Finding:
    title, unit, told = TOLD[name]
    ends = bins(before)
    counts = counted(ends, before), counted(ends, now)
    states = [float(each.mean(dtype=float)) for each in (before, now)]
    if name in LOGARITHMS:
        states = [float(np.expm1(state)) for state in states]
    return Finding.of(
        told,
        states[0],
        states[1],
        unit,
        name=title,
        **_moved(*counts),
    )


def _moved(before: Reals, now: Reals) -> dict[str, Any]:
    """How far a distribution moved, from its counts before and now."""
    return {
        "topic": TOPIC, "value": psi(before, now), "kind": "score", "measure": "PSI", "material": MOVED_PSI,
        "p_value": homogeneity(before, now),
    }  # fmt: skip


def _unknown_words(pair: Pair) -> Finding:
    before, now = (
        Mean.over(1.0 - each.evidence.astype(float), np.ones(len(each)), each.groups)
        for each in (pair.before, pair.now)
    )
    return Finding.of(
        "Of a prompt's words the router does not know {now}; it was {before}.",
        before.value,
        now.value,
        "share",
        name="Unknown words",
        topic=TOPIC,
        value=100 * (now.value - before.value),
        kind="points",
        measure="change, points",
        material=100 * MOVED_SHARE,
        p_value=same_mean(before, now),
    )


def _kinds(pair: Pair) -> Iterator[Finding]:
    """Shares of the categories, where both sides name them: logs mostly do not."""
    sides = [
        names[names != ""]
        for names in (pair.before.category[pair.before_rows], pair.now.category[pair.now_rows])
    ]  # fmt: skip
    if min(map(len, sides)) < FEWEST_GROUPS:
        return
    codes, names = pd.factorize(np.concatenate(sides), sort=True)
    known = np.bincount(codes[: len(sides[0])], minlength=len(names)) > 0
    # Kinds that are new become one bin, the last.
    place = np.where(known, np.cumsum(known) - 1, known.sum())[codes]
    labels = [*names[known], NEW]
    counts = [
        np.bincount(each, minlength=len(labels)).astype(float)
        for each in (place[: len(sides[0])], place[len(sides[0]) :])
    ]
    shares = [each / each.sum() for each in counts]
    most = int(np.abs(shares[1] - shares[0]).argmax())
    label = labels[most].replace("{", "{{").replace("}", "}}")
    yield Finding.of(
        f"Of the kinds of task “{label}” moved most: {{now}} of the requests; it was {{before}}.",
        float(shares[0][most]),
        float(shares[1][most]),
        "share",
        name="Kinds of task",
        **_moved(*counts),
    )


def _together(pair: Pair) -> Finding:
    before, now = (
        np.column_stack([each.features[rows], each.evidence[rows]]).astype(float)
        for each, rows in ((pair.before, pair.before_rows), (pair.now, pair.now_rows))
    )
    area, p_value = told_apart(before, now, pair.seed)
    return Finding(
        name="All together",
        topic=TOPIC,
        value=area,
        kind="score",
        measure="AUC",
        meaning="How well a classifier tells these requests from those the router was chosen on; 0.5 is a coin toss.",
        material=MOVED_AUC,
        still=0.5,
        p_value=p_value,
    )
