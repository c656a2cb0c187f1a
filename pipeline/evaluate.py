"""Everything that the report shows, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline import diagnosis, generalisation
from pipeline.config import Aim
from pipeline.findings import Findings
from pipeline.heads import Features
from pipeline.money import money, remarks
from pipeline.observed import Part
from pipeline.rivals import policies
from pipeline.router import Router
from pipeline.sample import Priced
from pipeline.schema import TIERS
from pipeline.traces import Traces
from pipeline.tune import Tuned

Step = Callable[[str], None]


def evaluate(
    sample: Traces, fit: Traces, features: Features, fitted: Router, both: tuple[Part, Part], priced: Priced,
    tuned: Tuned, aim: Aim, warnings: Sequence[str], step: Step,
) -> Findings:  # fmt: skip
    """Measure the router on the test part, and look into it.

    Args:
        sample: traces of all parts, for cross-validation.
        fit, features: the fit part and the features that the heads were fitted on.
        fitted: the router.
        both: the tune and the test part.
        priced: the same with what they cost.
        tuned: the router's operating point and certificate.
        aim: of the choice.
        warnings: sentences that the reader must not miss.
        step: called as each kind of measurement begins.
    """
    step("evaluating: baselines")
    rows, seed = priced.test.rows, priced.test.seed
    table = policies(fit, features, both, priced.tuned, priced.test, tuned.point, aim.objective)
    whole = next(policy for policy in table if policy.name == "router")
    step("evaluating: unseen kinds of task")
    carried = generalisation.splits(sample, fitted.smoothing, seed)
    step("evaluating: learning curve")
    learning = generalisation.learning_curve(fit, both[1].traces, fitted.smoothing, whole, seed)
    step("evaluating: money")
    worth = money(priced, tuned, aim)
    step("evaluating: slices")
    weights = diagnosis.coefficients(fitted, fit, features)
    idle = [weight.feature for weight in weights if weight.idle]
    said = [*warnings, *remarks(aim, priced.tariff)]
    if idle:
        said.append(f"idle, because constant in these traces: {', '.join(idle)}")
    return Findings(
        policies=table,
        reliability=diagnosis.reliability(rows),
        slices=diagnosis.slices(rows, tuned.point, seed),
        coefficients=weights,
        helping={tier: diagnosis.strongest(fitted.vocabulary, at, 1) for at, tier in enumerate(TIERS)},
        hurting={tier: diagnosis.strongest(fitted.vocabulary, at, -1) for at, tier in enumerate(TIERS)},
        learning=learning,
        splits=carried,
        money=worth,
        warnings=said,
    )
