"""What a version is worth, in ten lines for the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.findings import Chosen, Contest, Findings, Money
from pipeline.metrics import Estimate
from pipeline.numerals import shown, told
from pipeline.plan import NEAR, Plan
from pipeline.worth import balance


def summary(found: Findings, manifest: Mapping[str, Any]) -> list[str]:
    """At most ten lines, and one more for each warning.

    Args:
        found: what was measured.
        manifest: of the version.
    """
    money = found.money
    lines = [
        _does(manifest["operating_point"]["policy"], found.policy("router").metrics),
        *_certificate(manifest["certificate"]),
        *_saved(money, manifest),
        *_targets(money),
        *_what_ifs(money, manifest["cost_unit"]),
        *([_contest(money.contest, manifest)] if money.contest else []),
    ]
    return [*lines, *(f"note: {warning}" for warning in found.warnings)]


BEFORE_LABELS = (
    "Until there are labels: real-time work starts with flash, batch work with pro, until a version is certified on at "
    "least 1,000 tasks; ask both tiers a sample of the traffic meanwhile."
)


def planned(plan: Plan) -> list[str]:
    """A plan as lines."""
    claim = plan.claim
    kept = (
        f"at least {claim.bound:.4g} times the correct answers of always-pro"
        if claim.form == "ratio"
        else f"at most {100 * claim.bound:.4g} points of accuracy lost to always-pro"
    )
    reached = [
        f"{labels:>16,}   " + ("nothing but always pro" if rate == 1 else f"about {rate:.0%}")
        for labels, rate in plan.rates.items()
    ]
    return [
        f"To certify {kept}, with a confidence level of {claim.confidence_level:.4g}. From {plan.basis}.",
        "",
        "  labelled tasks   sent to pro under the certificate",
        *reached,
        f"{'without end':>16}   {plan.limit:.0%}",
        "",
        _enough(plan),
        "To learn a good router at all, some 1,500 are enough; the rest are for the certificate.",
        BEFORE_LABELS,
    ]


def _enough(plan: Plan) -> str:
    near = f"within {100 * NEAR:.0f} points of that"
    return f"About {plan.enough:,} labelled tasks come {near}." if plan.enough else f"Always pro itself is {near}."


def _does(policy: str, test: Mapping[str, Estimate]) -> str:
    if policy != "router":
        return f"The choice that serves the objective best is: {policy}."
    rate, quality = (
        f"{each.value:.1%} [{each.low:.1%}, {each.high:.1%}]" for each in (test["pro_rate"], test["quality"])
    )
    return f"Sends {rate} to pro and keeps {quality} of its accuracy."


def _certificate(certificate: Mapping[str, Any]) -> Iterator[str]:
    yield f"Certificate: {certificate['verdict']}."
    if certificate["wished_step"]:
        yield f"  {'Claim' if certificate['certified'] else 'Claim that is not certified'}: {certificate['claim']}"


def _saved(money: Money, manifest: Mapping[str, Any]) -> Iterator[str]:
    if money.saved is None or money.delivery_saved is None:
        yield "Saved: not in money, for not both tiers have a price; name them in a --config file."
        return
    estimated = ", tokens estimated" if manifest["costs_estimated"] else ""
    volume = f"a month of {money.requests_per_month:,} requests, against always pro{estimated}"
    yield f"API calls: {balance(money.saved)} in {volume}."
    if money.delivery_saved != money.saved:
        yield f"In all, with further attempts, waiting, people and wrong answers: {balance(money.delivery_saved)}."


def _targets(money: Money) -> Iterator[str]:
    others = [target for target in money.targets if not target.chosen and target.metrics]
    told = [
        f"{target.label.removeprefix('least cost with a ')} {target.metrics['pro_rate'].value:.0%}"
        + (" (within the certificate)" if target.certified else "")
        for target in others
    ]
    if told:
        yield "Sent to pro for other targets: " + ", ".join(told) + "."


def _what_ifs(money: Money, unit: str) -> Iterator[str]:
    told = [f"{one.label}: {_chosen(one.chosen)}" for one in money.scenarios[1:]]
    if told:
        yield f"{unit}, at a share sent to pro, with {'; '.join(told)}."
    if told and money.wrong_usd:
        least = [f"{one.label}: {_rate(one.least)}" for one in money.scenarios]
        yield f"Least total cost: {'; '.join(least)}."


def _chosen(chosen: Chosen | None) -> str:
    return "cannot be reached" if chosen is None else f"{shown(chosen.cost, 'cost')} at {_rate(chosen)}"


def _rate(chosen: Chosen) -> str:
    return chosen.policy if chosen.policy != "router" else f"{chosen.pro_rate:.0%}"


def _contest(contest: Contest, manifest: Mapping[str, Any]) -> str:
    rivals = [f"{policy.label} {_cost(policy.metrics)}" for policy in contest.policies]
    winner = next(policy.label for policy in contest.policies if policy.name == contest.winner)
    return f"Cascade ({manifest['cost_unit']}): {'; '.join(rivals)}. Best for the objective on the tune part: {winner}."


def _cost(metrics: Mapping[str, Estimate]) -> str:
    """Quality and cost, and the total where it is another number."""
    whole = f", {told(metrics['delivery'], 'cost')} in all" if metrics["delivery"] != metrics["cost"] else ""
    return f"keeps {shown(metrics['quality'].value, 'share')} at {told(metrics['cost'], 'cost')}{whole}"
