"""Numbers as people read them, the same on the console and on the page."""

from __future__ import annotations

import math

from pipeline.metrics import Estimate

FORMATS = {
    "share": (100, ".1f", "\N{NO-BREAK SPACE}%"),
    "rate": (100, ".0f", "\N{NO-BREAK SPACE}%"),
    "score": (1, ".3f", ""),
    "cost": (1, "", ""),
    "usd": (1, "", "\N{NO-BREAK SPACE}USD"),
    "points": (1, "+.1f", ""),
    "shift": (1, "+.2f", ""),
    "difference": (100, "+.2f", ""),
    "loss": (1, ".4f", ""),
}
MISSING = "\N{EN DASH}"


def shown(value: float | None, kind: str) -> str:
    """A number for people: a dash where it was not measured, "not defined" where it is NaN."""
    if value is None:
        return MISSING
    return "not defined" if math.isnan(value) else number(value, kind) + FORMATS[kind][2]


def interval(estimate: Estimate, kind: str) -> str:
    """The 95 % interval, or nothing where there is none or it has no width."""
    if not math.isfinite(estimate.high - estimate.low):
        return ""
    low, high = (number(end, kind, estimate.value) for end in (estimate.low, estimate.high))
    return "" if low == high else f"[{low},\N{NO-BREAK SPACE}{high}]"


def told(estimate: Estimate | None, kind: str) -> str:
    """Value and interval in one line."""
    return (
        shown(None, kind) if estimate is None else f"{shown(estimate.value, kind)} {interval(estimate, kind)}".strip()
    )


def number(value: float, kind: str, beside: float | None = None) -> str:
    """A finite number without its unit; an amount of money with as many digits as the one it stands beside."""
    factor, form, _ = FORMATS[kind]
    text = format(factor * value, form or _money_format(value if beside is None else beside))
    return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.lstrip("+-")


def _money_format(amount: float) -> str:
    """Whole units from 100 on, else two decimals, and two digits where that is too little; next to nothing is 0."""
    size = abs(amount)
    if size >= 100 or size < 1e-6:
        return ",.0f"
    return f",.{2 if size >= 0.1 else 1 - math.floor(math.log10(size))}f"
