"""Drift on the page: its numbers as text, laid out by `drift.html.j2`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.drift.finding import STEADY, TOLD, TOPICS, UNTESTED, Drift, Finding, state_told
from pipeline.numerals import MISSING, shown
from pipeline.report import sentence

TEMPLATE = Path(__file__).parent.parent / "drift.html.j2"
LONGEST_PSI = 0.25  # what the bars reach to at least, so that little movement looks like little
LEAST_P = 0.001
CHANGED = "Prices changed: that is no drift of the traffic, but the threshold is to be chosen anew."


@dataclass(frozen=True, slots=True)
class Row:
    """A finding as text."""

    name: str
    value: str
    measure: str
    verdict: str
    p_value: str
    meaning: str
    alarm: bool
    quiet: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """A PSI as a bar; `width` in percent."""

    name: str
    value: str
    width: float
    moved: bool


@dataclass(frozen=True, slots=True)
class View:
    """What `drift.html.j2` shows.

    Attributes:
        bound: where the bars begin to matter, in percent of the width.
        material: the PSI at that place.
        told: the bars in words.
    """

    alarm: bool
    headline: str
    notes: tuple[str, ...]
    bars: tuple[Bar, ...]
    bound: float
    material: str
    told: str
    topics: tuple[tuple[str, tuple[Row, ...]], ...]


def view(drift: Drift) -> View:
    """Drift as text and lengths."""
    moved = [finding for finding in drift.findings if finding.measure == "PSI"]
    longest = max([LONGEST_PSI, *(finding.value for finding in moved)])
    bound = moved[0].material or 0.0 if moved else 0.0
    listed = (
        (sentence(topic).rstrip("."), tuple(_row(one) for one in drift.findings if one.topic == topic))
        for topic in TOPICS
    )  # fmt: skip
    return View(
        alarm=drift.alarm,
        headline=headline(drift),
        notes=tuple(_notes(drift)),
        bars=tuple(
            Bar(one.name, shown(one.value, "score"), round(100 * one.value / longest, 1), one.alarm) for one in moved
        ),
        bound=round(100 * bound / longest, 1),
        material=f"{bound:g}",
        told=", ".join(f"{one.name} {one.value:.3f}" for one in moved),
        topics=tuple((topic, rows) for topic, rows in listed if rows),
    )


def headline(drift: Drift) -> str:
    """The answer in one sentence."""
    alarms = [finding.name for finding in drift.alarms]
    if alarms:
        return f"Drift: {', '.join(alarms)}."
    if drift.tested:
        return "No drift: nothing moved so far that it matters and that chance does not explain it."
    return "Drift could not be tested: there are too few requests."


def _notes(drift: Drift) -> Iterator[str]:
    """What the alarm rests on, what it is worth, and what else is to be done."""
    (before, now), (before_groups, now_groups) = drift.rows, drift.groups
    yield (
        f"The month has {now:,} requests in {now_groups:,} groups. It is compared with {before:,} "
        f"{drift.reference}, in {before_groups:,} groups. The requests of a group count once."
    )
    if drift.graded:
        yield f"Its answers are compared with {drift.graded}, for few outcomes of those decisions are known."
    if drift.tested:
        yield (
            f"Of months in which nothing moved, at most {drift.level:.0%} raise the alarm by chance: the "
            f"{drift.tested} tests share that level."
        )
    if drift.prices_changed:
        yield CHANGED


def _row(finding: Finding) -> Row:
    return Row(
        name=finding.name,
        value=_value(finding),
        measure=finding.measure,
        verdict=finding.verdict,
        p_value=MISSING if finding.adjusted is None else _p_value(finding.adjusted),
        meaning=finding.meaning,
        alarm=finding.alarm,
        quiet=finding.verdict in (STEADY, TOLD, UNTESTED),
    )


def _value(finding: Finding) -> str:
    return MISSING if math.isnan(finding.value) else state_told(finding.value, finding.kind)


def _p_value(value: float) -> str:
    return f"< {LEAST_P}" if value < LEAST_P else f"{value:.3f}"
