"""What a month's traffic was found to do: numbers with their meaning, and one alarm for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.numerals import shown

TOPICS = ("requests", "answers", "models and prices")
ALARM, SMALL, LUCK, STEADY = "alarm", "moved too little to matter", "could be chance", "as before"
UNTESTED, TOLD, RETUNE = "not tested", "for information", "choose the threshold anew"

State = float | str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One number about a month, beside what it was.

    Attributes:
        name: of what was looked at, for people.
        topic: one of `TOPICS`.
        value: the number; NaN where it could not be had.
        kind: of the number, as in `numerals.FORMATS`, or "count".
        meaning: one sentence that says it.
        measure: what the number is, such as "PSI".
        before, now: the state it compares: numbers of the kind `unit`, or names; None where it has none.
        unit: kind of `before` and `now`.
        material: the distance from `still` from which on it matters; None where nothing is tested.
        still: the number where nothing moved.
        p_value: of "nothing moved", in [0, 1]; None for facts and for what was not tested.
        adjusted: the same for the whole family of findings (Holm); None where there is no p-value.
        verdict: one of the constants above.
    """

    name: str
    topic: str
    value: float
    kind: str
    meaning: str
    measure: str = ""
    before: State = None
    now: State = None
    unit: str = "score"
    material: float | None = None
    still: float = 0.0
    p_value: float | None = None
    adjusted: float | None = None
    verdict: str = UNTESTED

    @classmethod
    def of(cls, sentence: str, before: State, now: State, unit: str, **more: Any) -> Finding:
        """A finding whose meaning is a sentence with `{before}` and `{now}` in it; `more` are its other fields."""
        meaning = sentence.format(before=state_told(before, unit), now=state_told(now, unit))
        return cls(meaning=meaning, before=before, now=now, unit=unit, **more)

    @property
    def alarm(self) -> bool:
        """Whether it raises the alarm."""
        return self.verdict == ALARM

    @property
    def matters(self) -> bool:
        """Whether the number itself is as large as what matters."""
        return self.material is not None and abs(self.value - self.still) >= self.material


@dataclass(frozen=True, slots=True)
class Drift:
    """All that was found of a month.

    Attributes:
        findings: by topic.
        level: largest probability that a month like the reference raises the alarm.
        reference: what the month is compared with, in words.
        graded: what its answers are compared with, in words; "" where that is the reference.
        rows, groups: of the reference and of the month.
        prices_changed: whether a price is another one; no alarm, but a reason to choose the threshold anew.
    """

    findings: tuple[Finding, ...]
    level: float
    reference: str
    graded: str
    rows: tuple[int, int]
    groups: tuple[int, int]
    prices_changed: bool

    @property
    def alarm(self) -> bool:
        """Whether any finding raises it."""
        return any(finding.alarm for finding in self.findings)

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Those that raise it."""
        return tuple(finding for finding in self.findings if finding.alarm)

    @property
    def tested(self) -> int:
        """How many findings share the level."""
        return sum(finding.p_value is not None for finding in self.findings)

    def printed(self) -> dict[str, Any]:
        """As plain values, for a manifest; what is not a number is null."""
        findings = [
            {name: None if value != value else value for name, value in asdict(one).items()}  # noqa: PLR0124  # NaN
            for one in self.findings
        ]
        return {
            "alarm": self.alarm,
            "level": self.level,
            "reference": self.reference,
            "graded": self.graded,
            "rows": list(self.rows),
            "groups": list(self.groups),
            "prices_changed": self.prices_changed,
            "findings": findings,
        }


def judged(findings: Sequence[Finding], level: float) -> tuple[Finding, ...]:
    """The findings with their verdicts, at one level for the family of those that have a p-value.

    An alarm is significant after Holm's adjustment (Holm 1979, valid whatever the findings have to do with each other)
    and large enough to matter: among a million rows everything is significant.
    """
    tested = [at for at, finding in enumerate(findings) if finding.p_value is not None]
    adjusted = holm([findings[at].p_value or 0.0 for at in tested])
    known = dict(zip(tested, adjusted, strict=True))
    return tuple(_judged(finding, known.get(at), level) for at, finding in enumerate(findings))


def _judged(finding: Finding, adjusted: float | None, level: float) -> Finding:
    if adjusted is None:
        return finding
    significant = adjusted <= level
    verdict = {(True, True): ALARM, (True, False): SMALL, (False, True): LUCK, (False, False): STEADY}
    return replace(finding, adjusted=adjusted, verdict=verdict[significant, finding.matters])


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Holm 1979): those at most `a` are rejected at family level `a`."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values, float)[order]), 1.0)
    return [float(value) for value in adjusted]


def state_told(state: State, unit: str) -> str:
    """A state for people: names as they are, counts with at most one decimal."""
    if isinstance(state, str):
        return state
    if unit == "count" and state is not None:
        return f"{state:,.1f}".removesuffix(".0")
    return shown(state, unit)
