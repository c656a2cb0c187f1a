"""What an evaluation found: the figures that the manifest keeps, MLflow tracks and the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.metrics import Curve, Estimate, Reals


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to choose a tier, measured on the test part.

    Attributes:
        name: short, such as "router" or "tfidf".
        label: for people, such as "ten features (this router)".
        metrics: by name, see `pipeline.metrics`; a metric that does not apply is missing.
        curve: accuracy over pro rate; None for a policy that is a single point.
        note: a caveat worth reading beside it, or "".
    """

    name: str
    label: str
    metrics: Mapping[str, Estimate]
    curve: Curve | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted against observed success of one head, in bins of equal count.

    Attributes:
        predicted: [K], mean probability.
        observed: [K], share that was correct; low and high are Wilson 95 % limits.
        rows: [K].
    """

    predicted: Reals
    observed: Reals
    low: Reals
    high: Reals
    rows: Reals


@dataclass(frozen=True, slots=True)
class Slice:
    """One category of the test part.

    Attributes:
        flash, pro, routed: accuracy.
        gain: accuracy of routing minus that of always-flash, in points (hundredths).
        loss: accuracy of always-pro minus that of routing, in points.
    """

    category: str
    rows: int
    flash: float
    pro: float
    routed: float
    pro_rate: float
    gain: Estimate
    loss: Estimate


@dataclass(frozen=True, slots=True)
class Coefficient:
    """Weight of a feature, in log-odds per standard deviation, with its 95 % interval, per tier."""

    feature: str
    flash: Estimate
    pro: Estimate
    idle: bool


@dataclass(frozen=True, slots=True)
class WordEffect:
    """A word of the vocabulary.

    Attributes:
        shift: change of a tier's log-odds of success.
        seen: prompts of the fit part with the word.
        rate: share of them that the tier answered correctly.
    """

    word: str
    shift: float
    seen: int
    rate: float


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """APGR on the test part after fitting on so many labels: mean of `seeds` draws and its 95 % interval."""

    labels: int
    apgr: Estimate
    seeds: int


@dataclass(frozen=True, slots=True)
class Splits:
    """APGR by cross-validation, on kinds of task seen in training and on kinds never seen.

    Attributes:
        label: name of the policy for people.
        random: folds at random, groups whole.
        category: whole categories held out; None where there is only one.
    """

    label: str
    random: Estimate
    category: Estimate | None


@dataclass(frozen=True, slots=True)
class Target:
    """An operating point that could be chosen: on the tune part, and as it does on the test part.

    Attributes:
        label: the objective, for people.
        threshold, policy: as in `OperatingPoint`; None and "" where the objective cannot be reached.
        certified: whether the claim holds for it.
        chosen: whether it is the one that is served.
        metrics: on the test part, by name; empty where the objective cannot be reached.
    """

    label: str
    threshold: float | None
    policy: str
    certified: bool
    chosen: bool
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an objective would choose on the tune part: threshold, policy, share sent to pro, mean costs."""

    threshold: float
    policy: str
    pro_rate: float
    cost: float
    delivery: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One "what if": what would be chosen under other prices; None where the objective could not be reached.

    Attributes:
        label: for people.
        served: the point that is served now, at these prices.
        chosen: by the objective of the version.
        least: the least total delivery cost.
    """

    label: str
    served: Chosen
    chosen: Chosen | None
    least: Chosen


@dataclass(frozen=True, slots=True)
class Contest:
    """Routing, a cascade, and both, tuned for the same objective and measured on the same rows of the test part.

    Attributes:
        policies: in that order.
        bounds: confidence below which a flash answer is asked again of pro, by policy name; None where none is.
        winner: name of the one that served the objective best on the tune part.
        rows: of the test part with a confidence.
    """

    policies: Sequence[Policy]
    bounds: Mapping[str, float | None]
    winner: str
    rows: int


@dataclass(frozen=True, slots=True)
class Money:
    """What the choice of a threshold is worth.

    Attributes:
        in_usd: whether costs are money.
        requests_per_month: volume that the savings are stated for.
        saved, delivery_saved: USD a month against always-pro on the test part: of calls, and in all; None where
            costs are not money.
        targets: operating points that could be chosen, the served one among them.
        scenarios: what if prices changed; empty where costs are not money.
        contest: routing against a cascade; None where too few traces hold a confidence.
        escalate_below: confidence below which pro is best asked as well, beside the served threshold; None: never.
        certified_rate: least share sent to pro on the test part under a certified rule; 1 where only always-pro is.
        wrong_usd: what a wrong answer costs; where it is 0, the least total cost is of no interest.
    """

    in_usd: bool
    requests_per_month: int
    saved: Estimate | None
    delivery_saved: Estimate | None
    targets: Sequence[Target]
    scenarios: Sequence[Scenario]
    contest: Contest | None
    escalate_below: float | None
    certified_rate: float
    wrong_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything the report shows.

    Attributes:
        policies: in the order of the table, the router among them under the name "router".
        reliability: by tier.
        helping, hurting: words that raise and lower a tier's success most, by tier.
        money: what the threshold is worth.
        warnings: sentences a reader must not miss.
    """

    policies: Sequence[Policy]
    reliability: Mapping[str, Reliability]
    slices: Sequence[Slice]
    coefficients: Sequence[Coefficient]
    helping: Mapping[str, Sequence[WordEffect]]
    hurting: Mapping[str, Sequence[WordEffect]]
    learning: Sequence[LearningPoint]
    splits: Sequence[Splits]
    money: Money
    warnings: Sequence[str] = field(default_factory=tuple)

    def policy(self, name: str) -> Policy:
        """The policy of that name."""
        return next(policy for policy in self.policies if policy.name == name)
