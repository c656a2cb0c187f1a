"""A month beside what the champion was chosen on: what moved, what it means, and whether to raise the alarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.drift.answers import answers
from pipeline.drift.facts import Deployed, Printed, deployments, prices
from pipeline.drift.finding import RETUNE, Drift, Finding, judged
from pipeline.drift.traffic import FEWEST_GROUPS, Pair, requests
from pipeline.evidence import Evidence

LEVEL = 0.05


def measure(
    reference: Evidence,
    newest: Evidence,
    names: Mapping[str, tuple[Deployed, Deployed]],
    tariffs: tuple[Printed, Printed],
    seed: int,
    level: float = LEVEL,
    graded: Evidence | None = None,
) -> Drift:
    """What moved between the rows a champion was chosen on and a month of its traffic.

    The groups are what is independent: each counts once, by a row drawn at random where distributions are compared, by
    the mean of its rows where means are. What has outcomes is looked at in at most
    150,000 groups of either side, and the classifier looks at 20,000: more would not tell more.

    Args:
        reference: rows that the champion was not fitted on: logged decisions that it was chosen on, or labelled ones
            (`Evidence.labelled`).
        newest: the month as the champion sees it.
        names: of each tier, what answered for it before and now.
        tariffs: before and now, as `Tariff.printed` gives them.
        seed: of the draws.
        level: in (0, 1), largest probability that a month of the same distribution raises the alarm, all tests taken
            together.
        graded: rows that answers are compared with, where few outcomes of the reference are known; None: the reference.
    """
    graded = reference if graded is None else graded
    pair = Pair.of(reference, newest, seed)
    found = [
        *(_tests(pair, graded, newest) if pair.enough else _too_few(pair)),
        *deployments(names),
        *prices(*tariffs, reference),
    ]
    return Drift(
        findings=judged(found, level),
        level=level,
        reference=_told(reference),
        graded="" if graded is reference else f"{len(graded):,} {_told(graded)}",
        rows=(len(reference), len(newest.rows)),
        groups=(len(pair.before_rows), len(pair.now_rows)),
        prices_changed=any(finding.verdict == RETUNE for finding in found),
    )


def _told(reference: Evidence) -> str:
    if reference.audited.all():
        return "labelled rows that the champion was measured on"
    times = reference.rows.time[~np.isnat(reference.rows.time)]
    days = f" of {times.min().astype('M8[D]')} to {times.max().astype('M8[D]')}" if len(times) else ""
    return f"logged decisions{days} that the champion was chosen on"


def _tests(pair: Pair, graded: Evidence, newest: Evidence) -> Iterator[Finding]:
    yield from requests(pair)
    yield from answers(graded, newest, pair.seed)


def _too_few(pair: Pair) -> Iterator[Finding]:
    least = min(len(pair.before_rows), len(pair.now_rows))
    why = f"{least:,} independent requests are too few to tell drift from chance: {FEWEST_GROUPS} are needed."
    for topic in ("requests", "answers"):
        yield Finding(name=f"All {topic}", topic=topic, value=float("nan"), kind="score", meaning=why)
