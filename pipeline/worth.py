"""What a version is worth, in sentences for its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.findings import Findings
from pipeline.metrics import Estimate
from pipeline.numerals import number, shown, told

UNPRICED = (
    "Costs are relative here, because the tiers have no known price: to see money, name each tier's entry of the price "
    "table, as price under [tiers.flash] and [tiers.pro] of the --config file."
)


def headline(findings: Findings, manifest: Mapping[str, Any]) -> str:
    """What the version does at its operating point on the test part, in plain sentences."""
    router, choice = findings.policy("router"), manifest["operating_point"]["policy"]
    if choice == "always pro":
        correct = told(router.metrics["accuracy"], "share")
        return f"Always pro: every request goes to pro, so nothing is saved. It answers {correct} correctly."
    cost, ceiling = router.metrics["cost"].value, findings.policy("always_pro").metrics["cost"].value
    kept = f"keeps {told(router.metrics['quality'], 'share')} of its accuracy"
    kept += f", at {shown(cost / ceiling, 'rate')} of its cost" if ceiling else ""
    kept += f"{_worth(findings, manifest)}."
    if choice == "always flash":
        return f"Always flash: no request goes to pro. Doing without it {kept}"
    return f"Sends {shown(router.metrics['pro_rate'].value, 'share')} of requests to pro and {kept}"


def _worth(findings: Findings, manifest: Mapping[str, Any]) -> str:
    """What the headline says of money, with what leads up to it; nothing where costs are not money."""
    money = findings.money
    if money.saved is None or money.delivery_saved is None:
        return ""
    at = f"a month at {money.requests_per_month:,} requests" + (" (tokens estimated)" if estimated(manifest) else "")
    if not counts_more(findings):
        return f": {balance(money.saved)} {at}"
    whole = f"{balance(money.delivery_saved)} in all, wrong answers and waiting counted"
    return f": {balance(money.saved)} on calls {at}, and {whole}"


def balance(saved: Estimate) -> str:
    """USD saved, or lost."""
    return f"{told(_size(saved), 'usd')} {'lost' if saved.value < 0 else 'saved'}"


def estimated(manifest: Mapping[str, Any]) -> bool:
    """Whether the costs rest on tokens that were estimated."""
    return bool(manifest["costs_estimated"])


def counts_more(findings: Findings) -> bool:
    """Whether anything but calls is priced, so that the total delivery cost is another number."""
    found = [policy.metrics for policy in findings.policies]
    return any(metrics.get("delivery", metrics["cost"]) != metrics["cost"] for metrics in found)


def tiles(findings: Findings, manifest: Mapping[str, Any]) -> list[tuple[str, Estimate | None, str, str]]:
    """The numbers at the top: title, value, how it is printed, and a hint."""
    metrics, ceiling = findings.policy("router").metrics, findings.policy("always_pro").metrics["cost"].value
    return [
        ("Accuracy", metrics["accuracy"], "share", "of all requests answered correctly"),
        ("Sent to pro", metrics["pro_rate"], "share", "of requests"),
        ("Cost", metrics["cost"], "cost", f"{manifest['cost_unit']}; always-pro costs {shown(ceiling, 'cost')}"),
        *_saved(findings, manifest),
        ("APGR", metrics.get("apgr"), "score", "chance is 0.5, see the glossary"),
    ]


def _saved(findings: Findings, manifest: Mapping[str, Any]) -> Iterator[tuple[str, Estimate | None, str, str]]:
    """The tiles about savings: money by the month, else a share of what always-pro costs."""
    money, ceiling = findings.money, findings.policy("always_pro").metrics["cost"].value
    at = f"USD a month at {money.requests_per_month:,} requests"
    if money.in_usd:
        title = "Saved on calls" if counts_more(findings) else "Saved"
        yield title, money.saved, "cost", f"{at}, tokens estimated" if estimated(manifest) else at
        if counts_more(findings):
            yield "Saved in all", money.delivery_saved, "cost", f"{at}, wrong answers and waiting counted"
    elif ceiling:
        yield "Saved", findings.policy("router").metrics["saved_share"], "share", "of what always-pro costs"


def savings(findings: Findings, manifest: Mapping[str, Any]) -> str:
    """What the served point saves against always-pro, in sentences."""
    if manifest["operating_point"]["policy"] == "always pro":
        return "Every request goes to pro, so nothing is saved."
    money, share = findings.money, _difference(findings.policy("router").metrics["saved_share"], "share")
    if money.saved is None or money.delivery_saved is None:
        return f"Its calls cost {share} than those of always-pro. {UNPRICED}"
    caveat = ", tokens estimated" if estimated(manifest) else ""
    said = f"At {money.requests_per_month:,} requests a month its calls cost {_difference(money.saved, 'usd')} than "
    said += f"those of always-pro{caveat}: {share}."
    if not counts_more(findings):
        return said
    saved = money.delivery_saved
    doubt = "; the interval holds 0, so it could be less as well as more" if saved.low <= 0 <= saved.high else ""
    whole = f"With wrong answers and waiting counted, a month costs {_difference(saved, 'usd')} than with always-pro"
    return f"{said} {whole}{doubt}."


def _difference(saved: Estimate, kind: str) -> str:
    return f"{told(_size(saved), kind)} {'more' if saved.value < 0 else 'less'}"


def _size(saved: Estimate) -> Estimate:
    return Estimate(-saved.value, -saved.high, -saved.low) if saved.value < 0 else saved


def estimates_told(manifest: Mapping[str, Any]) -> str:
    """Where the tokens come from that the traces do not hold; nothing where they hold them all."""
    if not estimated(manifest):
        return ""
    by_tier = [
        f"{tier} {_guess(rate, 'tokens_per_word')} tokens a word in and {_guess(rate, 'output_tokens')} tokens out"
        for tier, rate in manifest["tariff"]["tiers"].items()
    ]
    return f"Tokens that the traces do not hold were estimated: {'; '.join(by_tier)}."


def _guess(rate: Mapping[str, Any], name: str) -> str:
    origin = {
        "settings": "from the settings",
        "traces": "as in other traces",
        "other tier": "as at the other tier",
    }.get(rate["origins"][name], "assumed")
    return f"{number(rate[name], 'cost')} ({origin})"
