"""The page of a retune: what was decided, why, and what that rests on; one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.drift.page import view
from pipeline.frontier import ALWAYS_FLASH, ALWAYS_PRO
from pipeline.gate import LEVEL, Difference, Verdict
from pipeline.ingest.result import Ingested
from pipeline.metrics import Estimate
from pipeline.numerals import interval, shown
from pipeline.report import Scale, template
from pipeline.retune.found import Found, Policy
from pipeline.retune.record import Decision
from pipeline.schema import TIERS

TEMPLATE = "retune.html.j2"
MOST_SLICES = 30
LEAST_P = 0.001
HEADLINES = {
    Verdict.PROMOTE: "Promoted: {challenger} takes the place of {champion}.",
    Verdict.KEEP: "Champion kept: {champion} serves on.",
    Verdict.NOT_ENOUGH: "Not enough evidence: {champion} serves on.",
}
CONSTANTS = {ALWAYS_FLASH: "always flash", ALWAYS_PRO: "always pro"}
PASSES, OPEN, LOSES = "passes", "open", "loses"
ROUTER_TOLD = {PASSES: "within the margin", OPEN: "not known well enough", LOSES: "worse than allowed"}
SLICE_TOLD = {PASSES: "above its floor", OPEN: "no loss shown", LOSES: "loses too much"}
SECTIONS = {
    "gate": "Gate",
    "policies": "Policies",
    "guarantee": "Guarantee",
    "challenger": "Challenger",
    "evidence": "Evidence",
    "drift": "Drift",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A difference as text and as places on a stretch, in percent of its width.

    Attributes:
        state: `PASSES`, `OPEN` or `LOSES`.
        least: whether the bound is the least that is allowed; else it is the most.
        low, high, at: ends of the interval and the estimate; None where that is not defined.
    """

    name: str
    value: str
    limits: str
    allowed: str
    rows: int
    state: str
    told: str
    least: bool
    zero: float
    bound: float
    low: float
    high: float
    at: float | None


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with a title, and what it has to be read with."""

    title: str
    value: str
    limits: str
    hint: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the evidence; `width` in percent."""

    kind: str
    name: str
    rows: int
    width: float


def render(found: Found, decision: Decision) -> str:
    """The page of a retune, without outside references.

    Args:
        found: what was found out; what the retune did not come to is said to be missing.
        decision: that was made on it.
    """
    judged, learned = found.judged, found.learned
    slices = sorted(judged.slices, key=lambda one: one.high - one.bound) if judged else []
    return template(TEMPLATE).render(
        **evidence(found),
        decision=decision,
        verdict=Verdict(decision.verdict).name.lower(),
        headline=headline(decision),
        at=datetime.fromisoformat(decision.at).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        names={"champion": decision.champion, "challenger": decision.version},
        serves="challenger" if decision.promotes else "champion",
        sections=SECTIONS,
        tiles=list(tiles(found)),
        quality=lines([judged.quality], of_router, ROUTER_TOLD) if judged and judged.quality else (),
        cost=lines([judged.cost], of_router, ROUTER_TOLD) if judged and judged.cost else (),
        slices=lines(slices[:MOST_SLICES], of_slice, SLICE_TOLD),
        slices_left_out=slices[MOST_SLICES:],
        level=LEVEL,
        guarantee_p=p_value(found.guarantee.p_value) if found.guarantee else "",
        thresholds=[threshold(learned.threshold_before), threshold(learned.threshold_after)] if learned else [],
        tiers=TIERS,
        drift=view(found.drift) if found.drift else None,
    )


def evidence(found: Found) -> dict[str, Any]:
    """What the template needs to tell of the evidence, and of what must not be missed."""
    ingested = found.ingested
    warnings, remarks = _notes(found)
    return {
        "found": found, "warnings": warnings, "remarks": remarks, "shares": shares(ingested) if ingested else (),
        "unusable": sorted(ingested.unusable.items(), key=lambda each: (-each[1], each[0])) if ingested else (),
    }  # fmt: skip


def headline(decision: Decision) -> str:
    """The verdict, and what serves."""
    return HEADLINES[Verdict(decision.verdict)].format(challenger=decision.version, champion=decision.champion)


def lines(
    differences: Sequence[Difference], state_of: Callable[[Difference], str], words: Mapping[str, str]
) -> tuple[Line, ...]:
    """Differences on one scale, which holds nothing, the intervals and the bounds.

    Args:
        differences: to draw.
        state_of: what the gate makes of one.
        words: for each state.
    """
    ends = [Estimate(one.estimate.value, one.low, one.high) for one in differences]
    scale = Scale.over([*ends, *(Estimate(one.bound, one.bound, one.bound) for one in differences)], 0.0)
    return tuple(_line(one, scale, state_of(one), words) for one in differences)


def _line(one: Difference, scale: Scale, state: str, words: Mapping[str, str]) -> Line:
    value = one.estimate.value
    return Line(
        name=one.name,
        value=shown(value, "difference"),
        limits=_limits(one),
        allowed=shown(one.bound, "difference"),
        rows=one.rows,
        state=state,
        told=words[state],
        least=one.bound < 0,
        zero=scale.at(0.0),
        bound=scale.at(one.bound),
        low=_place(one.low, scale, 0.0),
        high=_place(one.high, scale, 100.0),
        at=scale.at(value) if math.isfinite(value) else None,
    )


def _limits(one: Difference) -> str:
    """The bounds that the gate goes by, which are not the 95 % interval of the estimate."""
    return interval(Estimate(one.estimate.value, one.low, one.high), "difference")


def _place(end: float, scale: Scale, edge: float) -> float:
    """Where an end stands; at the edge where it has no place."""
    return scale.at(end) if math.isfinite(end) else edge


def of_router(one: Difference) -> str:
    """What the gate makes of a difference over all requests: the estimate may refuse, the whole interval must pass."""
    value, worst, _, bound = _upwards(one)
    return LOSES if value <= bound else PASSES if worst > bound else OPEN


def of_slice(one: Difference) -> str:
    """What the gate makes of a slice: only one that surely loses counts against the challenger."""
    _, worst, best, bound = _upwards(one)
    return LOSES if best < bound else PASSES if worst > bound else OPEN


def _upwards(one: Difference) -> tuple[float, float, float, float]:
    """Estimate, worst and best end, and bound of a difference, turned so that more is better."""
    if one.bound < 0:
        return one.estimate.value, one.low, one.high, one.bound
    return -one.estimate.value, -one.high, -one.low, -one.bound


def tiles(found: Found) -> Iterator[Tile]:
    """The numbers to begin with, the challenger's beside the champion's, as far as the retune came to them."""
    named = {policy.name: policy for policy in found.policies}
    if {"champion", "challenger"} <= set(named):
        yield from _beside(named["challenger"], named["champion"], found.unit)
    if found.judged:
        hint = f"of {found.judged.logged:,} logged and {found.judged.audited:,} audited requests"
        yield Tile("decided differently", shown(found.judged.differing, "share"), "", hint)
    if found.ingested:
        known = found.ingested.usable_joined
        yield Tile("usable outcomes", f"{known:,}", "", f"of {found.ingested.rows:,} logged decisions")


def _beside(after: Policy, before: Policy, unit: str) -> Iterator[Tile]:
    """What the challenger gets, and the champion in the hint."""
    for title, kind, now, was, said in (
        ("challenger's accuracy", "share", after.accuracy, before.accuracy, ""),
        ("challenger's delivery cost", "cost", after.cost, before.cost, f"{unit}; "),
    ):
        if now:
            value = was.value if was else None
            yield Tile(title, shown(now.value, kind), interval(now, kind), f"{said}champion {shown(value, kind)}")
    yield Tile(
        "challenger sends to pro", shown(after.pro_rate, "share"), "", f"champion {shown(before.pro_rate, 'share')}"
    )


def threshold(value: float) -> str:
    """A threshold, or the name of the constant that it makes of the router."""
    return CONSTANTS.get(value) or shown(value, "score")


def p_value(value: float | None) -> str:
    """A p-value with the digits that matter."""
    return f"< {LEAST_P}" if value is not None and value < LEAST_P else shown(value, "score")


def shares(ingested: Ingested) -> tuple[Share, ...]:
    """The logged decisions by what can be learned from them."""
    counts = (
        ("known", "usable, outcome known", ingested.usable_joined),
        ("without", "usable, no outcome", ingested.usable - ingested.usable_joined),
        ("unusable", "not usable", ingested.rows - ingested.usable),
    )
    return tuple(Share(kind, name, rows, round(100 * rows / max(ingested.rows, 1), 2)) for kind, name, rows in counts)


def _notes(found: Found) -> tuple[list[str], list[str]]:
    """What must not be missed, and what is only to be said of the evidence; no sentence twice."""
    of_evidence = list(found.ingested.notes()) if found.ingested else []
    doubts = found.ingested.doubts if found.ingested else ()
    remarks = [note for note in of_evidence if note not in doubts]
    warnings = dict.fromkeys([*doubts, *(note for note in found.notes if note not in remarks)])
    return list(warnings), remarks
