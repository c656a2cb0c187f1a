"""The field's metrics of a router, each with a 95 % interval by resampling groups.

PGR, APGR and CPT are those of RouteLLM (arXiv 2406.18665, section 3), AIQ that of RouterBench
(arXiv 2403.12031, section 3). APGR is the exact area under PGR over the share of requests sent to pro,
ties in random order, so that a random router has 0.5 on average and not by convention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Reals = NDArray[np.float64]
Measured = Mapping[str, float]

FLASH, PRO = 0, 1
CALIBRATION_BINS = 10
REPLICATES = 500
FEWEST_REPLICATES = 200
CELLS_TO_RESAMPLE = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy as more requests go to pro, in order of a score.

    Attributes:
        pro_rate: [K], ascending from 0 to 1.
        accuracy: [K], share of requests answered correctly, in [0, 1].
    """

    pro_rate: Reals
    accuracy: Reals

    @property
    def gap(self) -> float:
        """Accuracy of always-pro minus that of always-flash."""
        return float(self.accuracy[-1] - self.accuracy[0])

    @property
    def pgr(self) -> Reals:
        """Performance gap recovered at each point: 0 for always-flash, 1 for always-pro."""
        return np.asarray((self.accuracy - self.accuracy[0]) / (self.gap or np.nan))

    def apgr(self) -> float:
        """Average performance gap recovered: area under PGR over the pro rate."""
        return float(np.trapezoid(self.pgr, self.pro_rate))

    def cpt(self, share: float) -> float:
        """Call-performance threshold: the least pro rate that recovers `share` of the gap."""
        reached = np.flatnonzero(self.pgr >= share)
        if not len(reached):
            return float("nan")
        at = reached[0]
        return float(np.interp(share, self.pgr[at - 1 : at + 1], self.pro_rate[at - 1 : at + 1])) if at else 0.0

    def aiq(self) -> float:
        """Average improvement in quality: mean height of the non-decreasing concave hull over cost.

        The cost of a request depends on its tier alone here, so cost runs as the pro rate does.
        """
        step = np.diff(self.pro_rate)
        step, rise = step[step > 0], np.diff(self.accuracy)[step > 0]
        # The slopes of a least concave majorant are the antitonic regression of the slopes (Barlow et al. 1972).
        slopes = isotonic_regression(rise / step, weights=step, increasing=False).x
        height = self.accuracy[0] + np.append(0.0, np.cumsum(np.maximum(slopes, 0) * step))
        return float(np.trapezoid(height, np.append(0.0, np.cumsum(step))))


@dataclass(frozen=True, slots=True)
class Ranking:
    """N requests with observed outcomes in order of a score, ready to be weighted.

    Attributes:
        order: int64[N], highest score first.
        ends: int64[K], last place of each run of equal scores.
        outcomes: float64[N, 2], in that order.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    outcomes: Reals

    @classmethod
    def by(cls, score: Reals, outcomes: Reals) -> Ranking:
        """Rank by a score, float[N], higher meaning more need of pro."""
        order = np.argsort(-score, kind="stable")
        sorted_score = score[order]
        ends = np.flatnonzero(np.append(sorted_score[1:] != sorted_score[:-1], True))
        return cls(order, ends, outcomes[order])

    def curve(self, weight: Reals | None = None) -> Curve:
        """The curve where row i of the original order counts `weight[i]` times."""
        weight = np.ones(len(self.order)) if weight is None else weight[self.order]
        total = weight.sum()
        gained = np.cumsum(weight * (self.outcomes[:, PRO] - self.outcomes[:, FLASH]))[self.ends]
        flash = weight @ self.outcomes[:, FLASH]
        rate = np.cumsum(weight)[self.ends] / total
        return Curve(np.append(0.0, rate), np.append(flash, flash + gained) / total)

    def auroc(self, weight: Reals | None = None) -> float:
        """Area under the ROC curve of the label "pro right and flash wrong"; NaN with one class."""
        weight = np.ones(len(self.order)) if weight is None else weight[self.order]
        label = needs_pro(self.outcomes)
        hits = np.append(0.0, np.cumsum(weight * label)[self.ends])
        misses = np.append(0.0, np.cumsum(weight * ~label)[self.ends])
        area = hits[-1] * misses[-1]
        return float(np.trapezoid(hits, misses) / area) if area else float("nan")


def needs_pro(outcomes: Reals) -> NDArray[np.bool_]:
    """The label: pro right and flash wrong, bool[N]."""
    return np.asarray((outcomes[:, PRO] == 1) & (outcomes[:, FLASH] == 0))


def ranking_metrics(score: Reals, outcomes: Reals) -> Callable[[Reals], dict[str, float]]:
    """Metrics of a score, as a function of row weights."""
    ranking = Ranking.by(score, outcomes)

    def measure(weight: Reals) -> dict[str, float]:
        curve = ranking.curve(weight)
        return {
            "apgr": curve.apgr(),
            "cpt50": curve.cpt(0.5),
            "cpt80": curve.cpt(0.8),
            "aiq": curve.aiq(),
            "auroc": ranking.auroc(weight),
        }

    return measure


def decision_metrics(
    pro_share: Reals, outcomes: Reals, costs: tuple[float, float]
) -> Callable[[Reals], dict[str, float]]:
    """Metrics of decisions, as a function of row weights.

    Args:
        pro_share: float[N], probability with which each request goes to pro: 0 or 1 for a router.
        outcomes: float[N, 2].
        costs: cost of a request at flash and at pro.
    """
    routed = outcomes[:, FLASH] + pro_share * (outcomes[:, PRO] - outcomes[:, FLASH])
    label = needs_pro(outcomes)
    agrees = np.where(label, pro_share, 1 - pro_share)
    cost = costs[FLASH] + pro_share * (costs[PRO] - costs[FLASH])

    def measure(weight: Reals) -> dict[str, float]:
        total = weight.sum()
        accuracy, flash, pro = (
            float(weight @ column / total) for column in (routed, outcomes[:, FLASH], outcomes[:, PRO])
        )
        needy = float(weight @ label / total)
        return {
            "accuracy": accuracy,
            "gap": pro - flash,
            "quality": accuracy / (pro or np.nan),
            "pgr": (accuracy - flash) / ((pro - flash) or np.nan),
            "pro_rate": float(weight @ pro_share / total),
            "cost": float(weight @ cost / total),
            "label_accuracy": float(weight @ agrees / total),
            "majority_rate": max(needy, 1 - needy),
        }

    return measure


def probability_metrics(probabilities: Reals, outcomes: Reals) -> Callable[[Reals], dict[str, float]]:
    """Brier score, log loss and expected calibration error of both heads and their mean, as a function of row weights.

    ECE has bins of equal count, cut on the unweighted rows.
    """
    safe = np.clip(probabilities, 1e-7, 1 - 1e-7)
    brier = (probabilities - outcomes) ** 2
    loss = -np.where(outcomes == 1, np.log(safe), np.log1p(-safe))
    bins = [equal_count_bins(column) for column in probabilities.T]

    def measure(weight: Reals) -> dict[str, float]:
        total = weight.sum()
        by_tier: dict[str, list[float]] = {
            "brier": [float(weight @ column / total) for column in brier.T],
            "log_loss": [float(weight @ column / total) for column in loss.T],
            "ece": [
                float(np.abs(np.bincount(place, weight * (p - y))).sum() / total)
                for place, p, y in zip(bins, probabilities.T, outcomes.T, strict=True)
            ],
        }
        tiers = {
            f"{name}_{tier}": value
            for name, pair in by_tier.items()
            for tier, value in zip(("flash", "pro"), pair, strict=True)
        }
        return {name: float(np.mean(pair)) for name, pair in by_tier.items()} | tiers

    return measure


def equal_count_bins(values: Reals) -> NDArray[np.int64]:
    """The bin of each value, int64[N], at most `CALIBRATION_BINS`; equal values share one."""
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]))
    return np.searchsorted(cuts, values, side="right")


def estimates(measure: Callable[[Reals], Measured], groups: NDArray[np.int64], seed: int) -> dict[str, Estimate]:
    """Values of a measure on all rows, with percentile intervals over resampled groups.

    Args:
        measure: metrics by name, as a function of row weights, float[N].
        groups: int64[N], codes of the groups; a group is drawn whole.
        seed: of the resampling.

    Returns:
        An estimate per metric; its interval is NaN where fewer than half of the replicates define it.
    """
    draws = [measure(weight) for weight in resampled(groups, seed)]
    values = measure(np.ones(len(groups)))
    return {name: _estimate(value, np.array([draw[name] for draw in draws])) for name, value in values.items()}


def resampled(groups: NDArray[np.int64], seed: int) -> Iterator[Reals]:
    """Row weights of bootstrap replicates over whole groups."""
    count = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    replicates = int(np.clip(CELLS_TO_RESAMPLE // len(groups), FEWEST_REPLICATES, REPLICATES))
    for _ in range(replicates):
        yield np.bincount(random.integers(0, count, count), minlength=count)[groups].astype(float)


def _estimate(value: float, draws: Reals) -> Estimate:
    defined = draws[~np.isnan(draws)]
    if len(defined) < len(draws) / 2:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
