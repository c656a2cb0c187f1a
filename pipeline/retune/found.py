"""What a retune found out, for its page and for programs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.drift.finding import Drift
from pipeline.gate import Judged
from pipeline.ingest.result import Ingested
from pipeline.off_policy import Inferred
from pipeline.retune.certified import Guarantee


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy gets on the newest evidence, by doubly robust estimates, and by the ways that logs mislead.

    Attributes:
        name: "always flash", "always pro", "champion" or "challenger".
        pro_rate: share of the requests that it sends to pro.
        accuracy, cost: doubly robust; None where logs do not say, then `refused` says why.
        inverse, normalised, naive: accuracy by inverse propensities, the same self-normalised, and by the logged
            requests that happened to be sent there, unweighted.
        refused: "" where the logs say.
    """

    name: str
    pro_rate: float
    accuracy: Inferred | None
    cost: Inferred | None
    inverse: Inferred | None
    normalised: Inferred | None
    naive: Inferred | None
    refused: str


@dataclass(frozen=True, slots=True)
class Learned:
    """How the challenger was made.

    Attributes:
        coefficients: "kept" or "new".
        half_life_days: of what it was fitted on; None where nothing was forgotten, or nothing was fitted.
        seen: outcomes of each tier that it was fitted on; 0 where it was not.
        effective: as many equally counted outcomes would tell as much.
        threshold_before, threshold_after: champion's and challenger's.
    """

    coefficients: str
    half_life_days: float | None
    seen: tuple[int, ...]
    effective: tuple[float, ...]
    threshold_before: float
    threshold_after: float


@dataclass(frozen=True, slots=True)
class Found:
    """All that a retune found out; what it did not come to is None.

    Attributes:
        champion: name of the version that served.
        objective: of the threshold, in words.
        unit: of costs.
        ingested: what came of logs and outcomes.
        drift: of the newest evidence, as the champion sees it.
        learned: how the challenger was made.
        judged: what the gate found.
        policies: on the newest evidence that neither was made from.
        guarantee: what becomes of it.
        notes: sentences that must not be missed.
    """

    champion: str
    objective: str
    unit: str
    ingested: Ingested | None = None
    drift: Drift | None = None
    learned: Learned | None = None
    judged: Judged | None = None
    policies: tuple[Policy, ...] = ()
    guarantee: Guarantee | None = None
    notes: tuple[str, ...] = ()

    def printed(self) -> dict[str, Any]:
        """As plain values; the drift by its alarm and its findings."""
        judged = self.judged and {**asdict(self.judged), "verdict": self.judged.verdict.value}
        printed: dict[str, Any] = finite({
            "champion": self.champion, "objective": self.objective, "unit": self.unit,
            "ingested": self.ingested and self.ingested.plain(),
            "drift": self.drift and self.drift.printed(),
            "learned": self.learned and asdict(self.learned),
            "judged": judged, "policies": [asdict(policy) for policy in self.policies],
            "guarantee": self.guarantee and asdict(self.guarantee), "notes": list(self.notes),
        })  # fmt: skip
        return printed


def finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not know: infinitely many degrees of freedom, nothing seen."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
