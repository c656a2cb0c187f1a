"""A month beside what the champion was measured on: what moved, what it means, and whether to raise the alarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.drift.answers import answers
from pipeline.drift.facts import Deployed, Printed, deployments, prices
from pipeline.drift.finding import RETUNE, Drift, Finding, judged
from pipeline.drift.traffic import FEWEST_GROUPS, Pair, requests
from pipeline.evidence import Evidence
from pipeline.observed import Observed

LEVEL = 0.05


def measure(
    reference: Observed,
    newest: Evidence,
    names: Mapping[str, tuple[Deployed, Deployed]],
    tariffs: tuple[Printed, Printed],
    seed: int,
    level: float = LEVEL,
) -> Drift:
    """What moved between the rows a champion was measured on and a month of its traffic.

    The groups are what is independent: each counts once, by a row drawn at random where distributions are compared, by
    the mean of its rows where means are. What has outcomes is looked at in at most
    150,000 groups of the month, and the classifier looks at 20,000 of either side: more would not tell more.

    Args:
        reference: rows that the champion was not fitted on, a random sample of its training data, all outcomes known.
        newest: the month as the champion sees it.
        names: of each tier, what answered for it before and now.
        tariffs: before and now, as `Tariff.printed` gives them.
        seed: of the draws.
        level: in (0, 1), largest probability that a month of the same distribution raises the alarm, all tests taken
            together.
    """
    pair = Pair.of(reference, newest.rows, seed)
    found = [
        *(_tests(pair, newest) if pair.enough else _too_few(pair)),
        *deployments(names),
        *prices(*tariffs, reference),
    ]
    return Drift(
        findings=judged(found, level),
        level=level,
        rows=(len(reference), len(newest.rows)),
        groups=(len(pair.before_rows), len(pair.now_rows)),
        prices_changed=any(finding.verdict == RETUNE for finding in found),
    )


def _tests(pair: Pair, newest: Evidence) -> Iterator[Finding]:
    yield from requests(pair)
    yield from answers(pair.before, newest, pair.seed)


def _too_few(pair: Pair) -> Iterator[Finding]:
    least = min(len(pair.before_rows), len(pair.now_rows))
    why = f"{least:,} independent requests are too few to tell drift from chance: {FEWEST_GROUPS} are needed."
    for topic in ("requests", "answers"):
        yield Finding(name=f"All {topic}", topic=topic, value=float("nan"), kind="score", meaning=why)
