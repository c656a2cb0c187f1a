"""Champion and challenger on the newest evidence that neither was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from features.errors import LearningError
from pipeline.challenger import Contender, seen
from pipeline.costs import Tariff
from pipeline.evidence import Evidence, Mask
from pipeline.gate import Judged, judge
from pipeline.inferred import Amounts, infer
from pipeline.nuisance import Nuisances
from pipeline.off_policy import doubly_robust, ips, naive, overlap, self_normalised
from pipeline.retune.found import Policy
from pipeline.traces import Traces
from pipeline.tune import to_pro

FEWEST = 100


@dataclass(frozen=True, slots=True)
class Contest:
    """Champion and challenger on the same requests.

    Attributes:
        judged: what the gate found.
        policies: what they and the two constants get.
        evidence: the requests, as the champion sees them.
        champion, challenger: bool[N], whether each sends the request to pro.
    """

    judged: Judged
    policies: tuple[Policy, ...]
    evidence: Evidence
    champion: Mask
    challenger: Mask


def contest(
    traces: Traces, champion: Contender, challenger: Contender, tariff: Tariff, margin: float, seed: int, *,
    promote_unsure: bool = False,
) -> Contest:  # fmt: skip
    """Judge a challenger.

    Args:
        traces: newest evidence that neither was made from.
        champion, challenger: to compare.
        tariff: whose prices apply.
        margin: by which the challenger may be worse.
        seed: of folds.
        promote_unsure: what `judge` is to do where neither is shown.

    Raises:
        LearningError: too few of the traces say anything about the tiers.
    """
    evidence = seen(champion.seer, traces, seed)
    usable = np.flatnonzero(evidence.usable)
    if len(usable) < FEWEST:
        raise LearningError(
            f"only {len(usable)} newest requests that nobody learned from say anything about the tiers, at least "
            f"{FEWEST} are needed: wait for outcomes, raise 'newest_days', or ask both tiers a sample "
            "(tier-router collect)"
        )
    mine = to_pro(evidence.rows, champion.point)
    theirs = to_pro(seen(challenger.seer, traces, seed).rows, challenger.point)
    amounts = infer(evidence, tariff, seed)
    one, other = mine[usable], theirs[usable]
    named = {"always flash": np.zeros_like(one), "always pro": np.ones_like(one), "champion": one, "challenger": other}
    told = tuple(policies(amounts, named))
    judged = judge(amounts, one, other, margin, promote_unsure=promote_unsure)
    return Contest(judged, told, evidence, mine, theirs)


def policies(amounts: Amounts, named: Mapping[str, Mask]) -> Iterator[Policy]:
    """What each of some policies, bool[N] by name, would get on N requests, or why the logs do not say."""
    asked, known = amounts.asked, Nuisances(amounts.expected, amounts.arrival)
    for name, decided in named.items():
        try:
            overlap(asked, decided).check()
        except LearningError as error:
            yield Policy(name, float(decided.mean()), None, None, None, None, None, str(error))
            continue
        yield Policy(
            name,
            float(decided.mean()),
            doubly_robust(amounts.accuracy, decided, asked.groups),
            doubly_robust(amounts.costs.delivery, decided, asked.groups),
            ips(asked, known, decided),
            self_normalised(asked, known, decided),
            naive(asked, decided),
            "",
        )
