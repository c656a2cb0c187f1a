"""The report of a version: one HTML file that needs nothing else, for whoever decides whether to trust a router."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from pipeline import figures
from pipeline.findings import Findings, Target, WordEffect
from pipeline.metrics import Estimate
from pipeline.numerals import MISSING, interval, shown, told
from pipeline.worth import counts_more, estimates_told, headline, savings, tiles

TEMPLATE = Path(__file__).with_name("report.html.j2")
WIDE, NARROW = 880, 400
MOST_SLICES, LARGEST_SLICES = 60, 30
DECIDED = (
    ("accuracy", "accuracy", "share"),
    ("quality", "quality", "share"),
    ("pro_rate", "sent to pro", "share"),
    ("cost", "cost", "cost"),
    ("delivery", "total cost", "cost"),
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
    "Data": ("data", "retuned_on", "held_out", "chosen_on"),
    "Operating point": ("operating_point", "objective"),
    "Certificate": ("certificate",),
    "Costs": ("cost_unit", "costs_estimated", "costs", "tariff"),
    "Artifact": ("tiers", "features", "vocabulary", "parity", "onnx"),
    "Versions": ("schema", "version", "retuned_from", "fitted_in", "created_at", "git_commit", "libraries", "python"),
    "Configuration": ("config",),
}
# What the page says already: above, or the same number in another place of the manifest.
TOLD_ELSEWHERE = (
    *("metrics", "baselines", "warnings", "threshold", "evidence_floor"),
    *(f"certificate · {name}" for name in ("certified", "claim", "verdict")),
    *(f"config · {name}" for name in ("objective", "certify", "max_loss", "confidence_level", "at", "settings")),
)
SECTIONS = {
    "policies": "Policies",
    "curve": "Cost and quality",
    "worth": "Worth",
    "reliability": "Reliability",
    "coefficients": "Coefficients",
    "words": "Words",
    "splits": "Unseen kinds",
    "learning": "Learning curve",
    "slices": "Categories",
    "facts": "Facts",
}
STEADY_TARGET = (
    "A price moves what a quality target costs, but not its threshold, as long as pro is the dearer tier of every "
    "request: the cheapest rule that keeps the quality is then the one that sends fewest requests to pro."
)
STEADY_SHARE = "A limit on the share sent to pro asks for nothing about prices, so no price moves its threshold."
STEADY = {"min_quality": STEADY_TARGET, "pro_rate": STEADY_SHARE}


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
    slices, router = sorted(findings.slices, key=lambda one: -one.rows), findings.policy("router")
    kept = slices if len(slices) <= MOST_SLICES else slices[:LARGEST_SLICES]
    return template(TEMPLATE.name).render(
        found=findings,
        manifest=manifest,
        router=router,
        headline=headline(findings, manifest),
        sections=sections(findings, manifest),
        tiles=tiles(findings, manifest),
        decided=[column for column in DECIDED if column[0] != "delivery" or counts_more(findings)],
        ranked=[*RANKED],
        notes=[policy.note for policy in findings.policies if policy.note],
        pictures=_pictures(findings, manifest),
        savings=savings(findings, manifest),
        numbers=numbers(findings.money.targets),
        counts_more=counts_more(findings),
        steady=STEADY.get(manifest["objective"]["name"], ""),
        estimates=estimates_told(manifest),
        slices=kept,
        slices_left_out=slices[len(kept) :],
        slice_scale=Scale.over([value for one in kept for value in (one.gain, one.loss)], 0.0),
        split_scale=Scale.over([v for one in findings.splits for v in (one.random, one.category) if v], 0.5),
        split_verdict=split_verdict(findings),
        longest_shift=_longest_shift(findings),
        facts=facts(manifest),
    )


@functools.cache
def template(name: str) -> Template:
    """A page beside this module, with filters for numbers; what it is given is escaped."""
    pages = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"shown": shown, "interval": interval, "told": told, "sentence": sentence}
    return pages.get_template(name)


def sections(findings: Findings, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Titles of the page's sections by id: all, but of a re-tuned version only those that were measured anew."""
    if "retuned_from" not in manifest:
        return SECTIONS
    old = {
        "coefficients": findings.coefficients,
        "words": findings.helping,
        "splits": findings.splits,
        "learning": findings.learning,
    }
    return {name: title for name, title in SECTIONS.items() if old.get(name, True)}


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def numbers(targets: Sequence[Target]) -> dict[int, Target]:
    """The other operating points by the number that picture and table give them."""
    return dict(enumerate((target for target in targets if target.metrics and not target.chosen), start=1))


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
    known = {key for keys in FACTS.values() for key in keys}
    sections = FACTS | {"Also in the manifest": tuple(key for key in manifest if key not in known)}
    listed = {
        title: [row for key in keys if key in manifest for row in _flattened(key, manifest[key])]
        for title, keys in sections.items()
    }
    return {title: rows for title, rows in listed.items() if rows}


def _flattened(key: str, value: object) -> Iterator[tuple[str, str]]:
    if key in TOLD_ELSEWHERE:
        return
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
    flash, pro = manifest["costs"]
    curve = figures.Costed(
        findings.policies, numbers(findings.money.targets), findings.money.certified_rate, (flash, pro),
        manifest["cost_unit"],
    )  # fmt: skip
    drawn: dict[str, Any] = {
        name: figures.cost_curve(curve, width) for name, width in (("wide", WIDE), ("narrow", NARROW))
    }
    drawn["reliability"] = {tier: figures.reliability(tier, findings.reliability) for tier in findings.reliability}
    if findings.coefficients:
        drawn["coefficients"] = figures.coefficients(findings.coefficients)
    measured = [point for point in findings.learning if math.isfinite(point.apgr.value)]
    if measured:
        drawn["learning"] = figures.learning(measured)
    return drawn
