"""Everything that the report shows, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline import diagnosis, generalisation
from pipeline.findings import Findings
from pipeline.heads import Features
from pipeline.policies import Observed, Terms, policies
from pipeline.router import Router
from pipeline.schema import TIERS
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

Step = Callable[[str], None]


def evaluate(
    sample: Traces, fit: Traces, features: Features, fitted: Router, tuned: Observed, test: Observed,
    point: OperatingPoint, terms: Terms, warnings: Sequence[str], step: Step,
) -> Findings:  # fmt: skip
    """Measure the router on the test part, and look into it.

    Args:
        sample: traces of all parts, for cross-validation.
        fit, features: the fit part and the features that the heads were fitted on.
        fitted: the router.
        tuned, test: what the router makes of the other parts.
        point: its operating point.
        terms: of the comparison with other policies.
        warnings: sentences that the reader must not miss.
        step: called as each kind of measurement begins.
    """
    step("evaluating: baselines")
    table = policies(fit, features, tuned, test, point, terms)
    whole = next(policy for policy in table if policy.name == "router")
    step("evaluating: unseen kinds of task")
    carried = generalisation.splits(sample, fitted.smoothing, terms.seed)
    step("evaluating: learning curve")
    learning = generalisation.learning_curve(fit, test, fitted.smoothing, whole, terms.seed)
    step("evaluating: slices")
    weights = diagnosis.coefficients(fitted, fit, features)
    idle = [weight.feature for weight in weights if weight.idle]
    remarks = [*warnings, f"idle, because constant in these traces: {', '.join(idle)}"] if idle else warnings
    return Findings(
        policies=table,
        reliability=diagnosis.reliability(test),
        slices=diagnosis.slices(test, point, terms.seed),
        coefficients=weights,
        helping={tier: diagnosis.strongest(fitted.vocabulary, at, 1) for at, tier in enumerate(TIERS)},
        hurting={tier: diagnosis.strongest(fitted.vocabulary, at, -1) for at, tier in enumerate(TIERS)},
        learning=learning,
        splits=carried,
        warnings=remarks,
    )
