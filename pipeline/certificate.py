"""What is guaranteed of a version, in words and numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline import guarantee
from pipeline.frontier import ALWAYS_PRO, Frontier, Rules
from pipeline.guarantee import Claim
from pipeline.metrics import Reals
from pipeline.observed import Observed
from pipeline.parts import FIFTHS

CONDITIONS = (
    "on traffic like the {rows:,} tasks of the tune part; it lapses when the traffic, the models or the way answers "
    "are graded change"
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """How far a claim is certified along a path of decision rules, and whether the served rule is among them.

    Attributes:
        claim: what is claimed.
        step: number of the last rule for which it is certified; 0: nothing but always-pro, of which it holds by
            definition.
        threshold: of that rule.
        pro_rate: share of the tune part that the rule sends to pro.
        steps: rules that there are.
        served: number of the rule that is served.
        wished: number of the rule that would be served if nothing had to be certified.
        p_value: of the served rule.
        rows, groups: of the tune part.
        more_labels: about how many more labelled tasks would certify a rule half of the way to the wished one; 0 where
            that is certified, None where the rows say that no number would do.
        wished_rate: share that this rule sends to pro.
        learned_from: whether the version learned from the tune part too, so that nothing can be certified on it.
    """

    claim: Claim
    step: int
    threshold: float
    pro_rate: float
    steps: int
    served: int
    wished: int
    p_value: float
    rows: int
    groups: int
    more_labels: int | None
    wished_rate: float
    learned_from: bool = False

    def of_learned(self) -> Certificate:
        """What is left of it where the version learned from the tune part: always-pro, of which it holds anyhow."""
        return replace(self, step=0, threshold=ALWAYS_PRO, pro_rate=1.0, more_labels=None, learned_from=True)

    @property
    def certified(self) -> bool:
        """Whether the claim is guaranteed of the served rule; not where that is always-pro for want of evidence."""
        return self.served <= self.step and (self.step > 0 or self.wished == 0)

    def covers(self, threshold: float) -> bool:
        """Whether the claim is guaranteed at a threshold of the path."""
        return threshold <= self.threshold

    @property
    def told(self) -> str:
        """The claim and its conditions, in one sentence."""
        level, bound = f"{self.claim.confidence_level:.4g}", self.claim.bound
        kept = (
            f"routing answers at least {bound:.4g} times as many requests correctly as always-pro would"
            if self.claim.form == "ratio"
            else f"routing answers at most {100 * bound:.4g} points fewer requests correctly than always-pro would"
        )
        if self.wished == 0:
            return f"By definition {kept}: every request goes to pro."
        conditions = CONDITIONS.format(rows=self.rows)
        if self.rows > self.groups:
            conditions = f"a group of like tasks counting once, {conditions}"
        return f"With a confidence level of {level} {kept}, {conditions}."

    @property
    def verdict(self) -> str:
        """Whether that is certified, and if it is not what was wished for, how far the data goes and what it takes."""
        verdict = "certified" if self.certified else "not certified"
        if self.wished <= self.step:
            return verdict
        if self.learned_from:
            return f"{verdict}: the version learned from the tune part; an audit can show it (tier-router retune)"
        reach = (
            f"the data goes as far as sending {self.pro_rate:.1%} to pro"
            if self.step
            else "nothing but always-pro can be certified"
        )
        if self.more_labels is None:
            return f"{verdict}: {reach}, and more labels of this kind would not do"
        return f"{verdict}: {reach}; about {self.more_labels:,} more labelled tasks would do for {self.wished_rate:.1%}"

    def printed(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        values = {name: value for name, value in asdict(self).items() if name != "claim"}
        return {
            "certified": self.certified, "claim": self.told, "verdict": self.verdict,
            **asdict(self.claim), "certified_threshold": values.pop("threshold"),
            "certified_pro_rate": values.pop("pro_rate"), "certified_step": values.pop("step"),
            "served_step": values.pop("served"), "wished_step": values.pop("wished"), **values,
        }  # fmt: skip


def tested(claim: Claim, rows: Observed, rules: Rules) -> tuple[int, Reals]:
    """The last rule of the path for which the claim is certified, and the p-values of all, float64[K]."""
    place = rules.places(rows.gain, rows.evidence)
    p_values = guarantee.p_values(claim, rows.outcomes, rows.groups, place, len(rules))
    return guarantee.last_certified(p_values, claim), p_values


def certificate(
    claim: Claim, rows: Observed, rules: Rules, frontier: Frontier, served: int, wished: int, found: tuple[int, Reals]
) -> Certificate:
    """The certificate of a rule.

    Args:
        claim: to certify.
        rows: the tune part.
        rules, frontier: the rules, and what they do on these rows.
        served, wished: number of the rule, and of the one that would be served if nothing had to be certified.
        found: from `tested`.
    """
    step, p_values = found
    return Certificate(
        claim, step, float(rules.thresholds[step]), float(frontier.pro_rate[step]), len(rules), served, wished,
        float(p_values[served]), len(rows), int(rows.groups.max()) + 1,
        *_more_labels(claim, rows, rules, frontier, step, wished),
    )  # fmt: skip


def _more_labels(
    claim: Claim, rows: Observed, rules: Rules, frontier: Frontier, step: int, wished: int
) -> tuple[int | None, float]:
    """Labelled tasks that would do half of the way from the last certified rule to the wished one, and its pro rate.

    The whole way is no question to ask: the rule that is just good enough takes any number of labels.
    """
    if wished <= step:
        return 0, float(frontier.pro_rate[wished])
    middle = (frontier.pro_rate[step] + frontier.pro_rate[wished]) / 2
    halfway = step + 1 + int(np.argmin(np.abs(frontier.pro_rate[step + 1 : wished + 1] - middle)))
    place = rules.places(rows.gain, rows.evidence)
    needed = guarantee.labels_needed(claim, rows.outcomes, rows.groups, place, len(rules))[halfway]
    rate = float(frontier.pro_rate[halfway])
    if not np.isfinite(needed):
        return None, rate
    groups = int(rows.groups.max()) + 1
    # There may be enough already, and luck was against them: luck changes with a fifth more.
    more = max(needed - groups, groups / 5) * len(rows) / groups * len(FIFTHS) / FIFTHS.count("tune")
    return rounded_up(more), rate


def rounded_up(count: float) -> int:
    """To two significant digits."""
    if count <= 0:
        return 0
    unit = 10 ** max(int(np.floor(np.log10(count))) - 1, 0)
    return int(np.ceil(count / unit) * unit)
