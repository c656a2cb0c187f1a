"""What becomes of the guarantee: tested again on audits, unchanged, or lapsed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline import guarantee
from pipeline.evidence import Evidence, Mask
from pipeline.gate import FEWEST_GROUPS
from pipeline.guarantee import Claim

VERSIONS = 2
MOST_HALVED = 32  # what is left then is next to nothing, and no level of 1


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The state of a guarantee.

    Attributes:
        state: "holds", "not shown", "unchanged" or "lapsed".
        p_value: of the test on audited tasks; None where it was not made.
        groups: audited.
        why: in one sentence.
    """

    state: str
    p_value: float | None
    groups: int
    why: str


def retested(
    claim: Claim, evidence: Evidence, to_pro: Mask, *, moved: bool, drifted: bool, looks: int = 0
) -> Guarantee:  # fmt: skip
    """Test the claim on the newest audit.

    By the same audit one of two versions was picked, and until a newer one comes it is looked at by every retune: the
    first look has half of the claim's risk, each further one half of the one before, and either version half of that.
    So of all that is ever shown by an audit, something is wrong with no more than the claim's risk.

    An audit may be older than the newest logged decisions. Where something has drifted, what was audited before these
    began says nothing of it, and is left out.

    Args:
        claim: that was made of the version.
        evidence: newest logged decisions, and audited tasks.
        to_pro: bool[N], what the version that is to serve decides.
        moved: whether that is another version than the claim was made of.
        drifted: whether the traffic, the models or the answers have changed since.
        looks: of earlier retunes at the same audit.
    """
    times, logged = evidence.rows.time, evidence.rows.time[~evidence.audited]
    outdated = times < logged.min() if drifted and len(logged) else np.zeros(len(times), np.bool_)
    rows = np.flatnonzero(evidence.audited & ~outdated)
    audited = evidence.rows.take(rows)
    groups = len(np.unique(audited.groups))
    if groups >= FEWEST_GROUPS:
        place = np.where(to_pro[rows], 2, 1)
        strict = replace(claim, confidence_level=1 - claim.risk / VERSIONS / 2 ** min(1 + looks, MOST_HALVED))
        p_value = float(guarantee.p_values(strict, audited.outcomes, audited.groups, place, 2)[1])
        if p_value <= strict.risk:
            return Guarantee("holds", p_value, groups, f"shown again on {groups:,} audited tasks")
        why = f"{groups:,} audited tasks do not show it (p = {p_value:.2g})"
        return Guarantee("lapsed" if moved or drifted else "not shown", p_value, groups, why)
    if drifted:
        audits = "the audit is older than that" if (evidence.audited & outdated).any() else "no audit shows it again"
        return Guarantee("lapsed", None, groups, f"the traffic or the answers have changed, and {audits}")
    if moved:
        return Guarantee("lapsed", None, groups, "another version is to serve, and no audit shows it of that one")
    return Guarantee("unchanged", None, groups, "nothing has changed, and no audit tests it again")
