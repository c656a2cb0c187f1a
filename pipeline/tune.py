"""The operating point: the cheapest threshold that keeps a share of always-pro's accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import TargetError
from pipeline.metrics import FLASH, PRO, Ranking, Reals

ALWAYS_PRO = -1.0
ALWAYS_FLASH = 2.0
EVIDENCE_PERCENTILE = 0.5
FORCED = 3.0

Gains = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what it does on the rows it was chosen on.

    Attributes:
        threshold: send to pro when gain >= threshold.
        evidence_floor: send to pro when evidence < evidence_floor; 0 sends nothing.
        policy: "router", "always flash" or "always pro".
        pro_rate: share of requests sent to pro.
        accuracy: share of requests answered correctly.
        quality: accuracy divided by that of always-pro; None where that is 0.
    """

    threshold: float
    evidence_floor: float
    policy: str
    pro_rate: float
    accuracy: float
    quality: float | None


def evidence_floor(evidence: NDArray[np.float32]) -> float:
    """A low percentile of the evidence of rows that were not fitted on.

    Half a percent: at 1 % the floor alone lost 0.004 APGR on routellm_mmlu in the random split, at 0.5 % 0.002.
    """
    return float(np.float32(np.percentile(evidence, EVIDENCE_PERCENTILE)))


def scores(gain: Gains, evidence: NDArray[np.float32], floor: float) -> Reals:
    """What ranks requests by the full rule: the gain, and above all gains where there is too little evidence."""
    return np.where(evidence < np.float32(floor), FORCED, gain.astype(float))


def operate(gain: Gains, evidence: NDArray[np.float32], outcomes: Reals, quality: float) -> OperatingPoint:
    """The operating point for a quality, on rows that were not fitted on; see `for_quality`."""
    floor = evidence_floor(evidence)
    return for_quality(scores(gain, evidence, floor), outcomes, floor, quality)


def for_quality(score: Reals, outcomes: Reals, floor: float, quality: float) -> OperatingPoint:
    """The highest threshold that keeps `quality` of always-pro's accuracy.

    Args:
        score: float64[N], see `scores`; values above 1 go to pro at any threshold.
        outcomes: float64[N, 2], both observed.
        floor: evidence floor that `score` was made with.
        quality: share of always-pro's accuracy to keep, > 0.

    Raises:
        TargetError: no threshold keeps that much; names the best that can be reached.
    """
    flash, pro = outcomes[:, FLASH].mean(), outcomes[:, PRO].mean()
    if flash >= quality * pro:
        return OperatingPoint(ALWAYS_FLASH, 0.0, "always flash", 0.0, float(flash), _ratio(flash, pro))
    ranking = Ranking.by(score, outcomes)
    curve = ranking.curve()
    values = score[ranking.order][ranking.ends]
    reached = np.flatnonzero(curve.accuracy[1:] >= quality * pro)
    if not len(reached):
        best = curve.accuracy.max() / pro
        raise TargetError(
            f"a quality of {quality:g} cannot be reached: the best threshold keeps {best:.4f} of always-pro's accuracy "
            f"({pro:.4f}) on {len(score):,} tune rows; ask for --min-quality {np.floor(best * 1000) / 1000:g} or less"
        )
    at = reached[0]
    last = at + 1 == len(values)
    policy = "always pro" if last else "router"
    threshold = ALWAYS_PRO if last else threshold_between(values[at + 1], values[at])
    accuracy = float(curve.accuracy[at + 1])
    return OperatingPoint(threshold, floor, policy, float(curve.pro_rate[at + 1]), accuracy, _ratio(accuracy, pro))


def threshold_between(below: float, above: float) -> float:
    """Midway between two gains, as the float32 that the file holds: above one of them and at most the other."""
    middle = np.float32((below + min(above, 1.0)) / 2)
    return float(middle if middle > below else np.nextafter(np.float32(below), np.float32(np.inf)))


def sends_to_pro(score: Reals, threshold: float) -> NDArray[np.bool_]:
    """The decisions, bool[N]."""
    return score >= threshold


def random_rate(outcomes: Reals, quality: float) -> float:
    """The share of requests sent to pro at random that keeps `quality` of its accuracy on average."""
    flash, pro = outcomes[:, FLASH].mean(), outcomes[:, PRO].mean()
    return float(np.clip((quality * pro - flash) / (pro - flash), 0, 1)) if pro > flash else 0.0


def _ratio(accuracy: float, pro: float) -> float | None:
    return float(accuracy / pro) if pro else None
