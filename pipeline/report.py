"""The report of a version: one HTML file that needs nothing else, for whoever decides whether to trust a router."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline import figures
from pipeline.findings import Findings, Policy, WordEffect
from pipeline.metrics import FLASH, PRO, Estimate

TEMPLATE = Path(__file__).with_name("report.html.j2")
WIDE, NARROW = 880, 400
MOST_SLICES, LARGEST_SLICES = 60, 30
FORMATS = {
    "share": (100, ".1f", "\N{NO-BREAK SPACE}%"),
    "rate": (100, ".0f", "\N{NO-BREAK SPACE}%"),
    "score": (1, ".3f", ""),
    "cost": (1, ".3g", ""),
    "points": (1, "+.1f", ""),
    "shift": (1, "+.2f", ""),
}
DECIDED = (
    ("accuracy", "accuracy", "share"),
    ("pro_rate", "sent to pro", "share"),
    ("cost", "cost", "cost"),
    ("quality", "quality", "share"),
    ("pgr", "PGR", "score"),
    ("label_accuracy", "label accuracy", "share"),
)
RANKED = (
    ("apgr", "APGR", "score"),
    ("cpt50", "CPT50", "share"),
    ("cpt80", "CPT80", "share"),
    ("aiq", "AIQ", "score"),
    ("auroc", "AUROC", "score"),
)
FACTS = {
    "Data": ("data",),
    "Operating point": (
        "operating_point",
        "threshold",
        "evidence_floor",
        "objective",
        "certificate",
        "cost_unit",
        "costs",
    ),
    "Artifact": ("tiers", "features", "parity", "onnx"),
    "Versions": ("schema", "version", "created_at", "git_commit", "libraries", "python"),
    "Configuration": ("config",),
}
MISSING = "\N{EN DASH}"
TOLD_ABOVE = ("metrics", "baselines", "warnings")


@dataclass(frozen=True, slots=True)
class Scale:
    """A stretch of the number line that the rows of a table draw on.

    Attributes:
        low, high: its ends.
        reference: a value with a mark of its own, such as chance.
    """

    low: float
    high: float
    reference: float

    @classmethod
    def over(cls, found: Iterable[Estimate], reference: float) -> Scale:
        """The scale that holds every estimate with its interval, and the reference."""
        ends = [end for one in found for end in (one.value, one.low, one.high) if math.isfinite(end)]
        low, high = min([reference, *ends]), max([reference, *ends])
        room = 0.04 * (high - low) or 1.0
        return cls(low - room, high + room, reference)

    def at(self, value: float) -> float:
        """Where a value stands, in percent of the width."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def render(findings: Findings, manifest: Mapping[str, Any]) -> str:
    """The report as one HTML page without outside references.

    Args:
        findings: what the evaluation found on the test part.
        manifest: as in `manifest.json`; keys the page does not know are listed as they are.
    """
    page = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"shown": shown, "interval": interval, "told": told}
    slices = sorted(findings.slices, key=lambda one: -one.rows)
    kept = slices if len(slices) <= MOST_SLICES else slices[:LARGEST_SLICES]
    return page.get_template(TEMPLATE.name).render(
        found=findings,
        manifest=manifest,
        router=findings.policy("router"),
        headline=headline(findings.policy("router"), manifest),
        decided=DECIDED,
        ranked=RANKED,
        notes=[policy.note for policy in findings.policies if policy.note],
        pictures=_pictures(findings, manifest),
        slices=kept,
        slices_left_out=slices[len(kept) :],
        slice_scale=Scale.over([value for one in kept for value in (one.gain, one.loss)], 0.0),
        split_scale=Scale.over([v for one in findings.splits for v in (one.random, one.category) if v], 0.5),
        split_verdict=split_verdict(findings),
        longest_shift=_longest_shift(findings),
        facts=facts(manifest),
    )


def shown(value: float | None, kind: str) -> str:
    """A number for people: a dash where it was not measured, "not defined" where it is NaN."""
    if value is None:
        return MISSING
    return "not defined" if math.isnan(value) else _number(value, kind) + FORMATS[kind][2]


def interval(estimate: Estimate, kind: str) -> str:
    """The 95 % interval, or nothing where there is none or it has no width."""
    if not math.isfinite(estimate.high - estimate.low):
        return ""
    low, high = _number(estimate.low, kind), _number(estimate.high, kind)
    return "" if low == high else f"[{low}, {high}]"


def told(estimate: Estimate | None, kind: str) -> str:
    """Value and interval in one line."""
    return (
        shown(None, kind) if estimate is None else f"{shown(estimate.value, kind)} {interval(estimate, kind)}".strip()
    )


def _number(value: float, kind: str) -> str:
    factor, form, _ = FORMATS[kind]
    text = format(factor * value, form)
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("+-")


def headline(router: Policy, manifest: Mapping[str, Any]) -> str:
    """What the version does at its operating point on the test part, in plain sentences."""
    choice, correct = manifest["operating_point"]["policy"], told(router.metrics["accuracy"], "share")
    if choice == "always pro":
        return f"Always pro: every request goes to pro, so nothing is saved. It answers {correct} correctly."
    cost, ceiling = router.metrics["cost"].value, float(manifest["costs"][PRO])
    kept = f"keeps {told(router.metrics['quality'], 'share')} of its accuracy"
    kept += f", at {shown(cost / ceiling, 'share')} of its cost." if ceiling else "."
    if choice == "always flash":
        return f"Always flash: no request goes to pro. Doing without it {kept}"
    return f"Sends {shown(router.metrics['pro_rate'].value, 'share')} of requests to pro and {kept}"


def split_verdict(findings: Findings) -> str:
    """What the two splits say about traffic of a kind that the router was not fitted on."""
    label = findings.policy("router").label
    unseen = {one.label: one.category for one in findings.splits if one.category}
    if label not in unseen:
        return ""
    mine = unseen.pop(label)
    best = max(unseen, key=lambda other: unseen[other].value, default=None)
    if mine.high < 0.5:
        return f"On kinds it never saw, this router does worse than chance: APGR {mine}."
    if not mine.low > 0.5:
        return f"On kinds it never saw, this router cannot be told from chance: APGR {mine}."
    if best is not None and not mine.low > unseen[best].value:
        return (
            f"On kinds it never saw, this router shows no more skill than “{best}”: APGR {mine} against {unseen[best]}."
        )
    return f"On kinds it never saw, this router keeps some skill: APGR {mine}."


def facts(manifest: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The manifest under headings, nested keys flattened; what the page does not know comes last."""
    known = {key for keys in FACTS.values() for key in keys} | set(TOLD_ABOVE)
    sections = FACTS | {"Also in the manifest": tuple(key for key in manifest if key not in known)}
    listed = {
        title: [row for key in keys if key in manifest for row in _flattened(key, manifest[key])]
        for title, keys in sections.items()
    }
    return {title: rows for title, rows in listed.items() if rows}


def _flattened(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flattened(f"{key} · {name}", inner)
    elif isinstance(value, Sequence) and any(isinstance(inner, Mapping) for inner in value):
        for place, inner in enumerate(value, start=1):
            yield from _flattened(f"{key} · {place}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield key, ", ".join(str(inner) for inner in value) or "none"
    else:
        yield key, MISSING if value is None or value == {} else str(value)


def _longest_shift(findings: Findings) -> float:
    lists: list[Sequence[WordEffect]] = [*findings.helping.values(), *findings.hurting.values()]
    return max((abs(effect.shift) for effects in lists for effect in effects), default=1.0) or 1.0


def _pictures(findings: Findings, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The SVG elements by name; a picture without anything to draw is missing."""
    costs = float(manifest["costs"][FLASH]), float(manifest["costs"][PRO])
    drawn: dict[str, Any] = {
        name: figures.cost_curve(findings.policies, costs, manifest["cost_unit"], width)
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    }
    drawn["reliability"] = {tier: figures.reliability(tier, findings.reliability) for tier in findings.reliability}
    if findings.coefficients:
        drawn["coefficients"] = figures.coefficients(findings.coefficients)
    measured = [point for point in findings.learning if math.isfinite(point.apgr.value)]
    if measured:
        drawn["learning"] = figures.learning(measured)
    return drawn
