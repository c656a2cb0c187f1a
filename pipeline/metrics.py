"""The field's metrics of a router, each with a 95 % interval by resampling groups.

PGR, APGR and CPT are those of RouteLLM (arXiv 2406.18665, section 3), AIQ that of RouterBench
(arXiv 2403.12031, section 3). APGR is the exact area under PGR over the share of requests sent to pro,
ties in random order, so that a random router has 0.5 on average and not by convention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Reals = NDArray[np.float64]
Measured = Mapping[str, float]

FLASH, PRO = 0, 1
HEADS = ("flash", "pro")
CALIBRATION_BINS = 10
REPLICATES = 500
FEWEST_REPLICATES = 200
CELLS_TO_RESAMPLE = 4_000_000
ROUNDING = 1e-12
REPLICATES_AT_ONCE = 25


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
        cost: [K], mean cost of a request; None where it was not asked for.
    """

    pro_rate: Reals
    accuracy: Reals
    cost: Reals | None = None

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
        reached = np.flatnonzero(self.pgr >= share - ROUNDING)
        if not len(reached):
            return float("nan")
        at = reached[0]
        return float(np.interp(share, self.pgr[at - 1 : at + 1], self.pro_rate[at - 1 : at + 1])) if at else 0.0

    def aiq(self) -> float:
        """Average improvement in quality: mean height of the non-decreasing concave hull over cost.

        Cost runs as the pro rate does here, as if every request cost the same at a tier: AIQ compares rankings.
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

    def costed(self, cost: Reals) -> Curve:
        """The curve with the mean cost of a request, from those of each row at flash and at pro, float64[N, 2]."""
        flash, pro = cost[self.order].T
        spent = flash.sum() + np.append(0.0, np.cumsum(pro - flash)[self.ends])
        return replace(self.curve(), cost=spent / len(flash))

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


@dataclass(frozen=True, slots=True)
class RankingMetrics:
    """Metrics of a score: a function of row weights, and of many weightings at once."""

    ranking: Ranking

    def __call__(self, weight: Reals) -> dict[str, float]:
        """The metrics where row i counts `weight[i]` times."""
        curve = self.ranking.curve(weight)
        return {
            "apgr": curve.apgr(),
            "cpt50": curve.cpt(0.5),
            "cpt80": curve.cpt(0.8),
            "aiq": curve.aiq(),
            "auroc": self.ranking.auroc(weight),
        }

    def many(self, weights: Reals) -> dict[str, Reals]:
        """The same for R weightings, float64[R, N]: float64[R] each."""
        ordered, outcomes, ends = weights[:, self.ranking.order], self.ranking.outcomes, self.ranking.ends
        change, label = outcomes[:, PRO] - outcomes[:, FLASH], needs_pro(outcomes)
        counted, gained, hits = (
            np.pad(np.cumsum(ordered * column, axis=1)[:, ends], [(0, 0), (1, 0)])
            for column in (np.ones(len(change)), change, label)
        )
        total = counted[:, -1:]
        rate, accuracy = counted / total, (ordered @ outcomes[:, FLASH][:, None] + gained) / total
        curves = [Curve(*points) for points in zip(rate, accuracy, strict=True)]
        misses = counted - hits
        return {
            "apgr": _area(gained / np.where(gained[:, -1:] == 0, np.nan, gained[:, -1:]), rate),
            "cpt50": np.array([curve.cpt(0.5) for curve in curves]),
            "cpt80": np.array([curve.cpt(0.8) for curve in curves]),
            "aiq": np.array([curve.aiq() for curve in curves]),
            "auroc": quotient(_area(hits, misses), hits[:, -1] * misses[:, -1]),
        }


def _area(height: Reals, over: Reals) -> Reals:
    return np.asarray(np.trapezoid(height, over, axis=1))


def ranking_metrics(score: Reals, outcomes: Reals) -> RankingMetrics:
    """Metrics of a score, float[N], higher meaning more need of pro."""
    return RankingMetrics(Ranking.by(score, outcomes))


@dataclass(frozen=True, slots=True)
class Means:
    """Metrics that follow from weighted means of columns: a function of row weights, and quick to resample.

    Attributes:
        columns: float64[N] by name.
        derive: the metrics by name, from the means by name; element by element, of R replicates at once.
    """

    columns: Mapping[str, Reals]
    derive: Callable[[Mapping[str, Reals]], dict[str, Reals]]

    def __call__(self, weight: Reals) -> dict[str, float]:
        """The metrics where row i counts `weight[i]` times."""
        total = weight.sum()
        means = {name: np.asarray(weight @ column / total) for name, column in self.columns.items()}
        return {name: float(value) for name, value in self.derive(means).items()}


def decision_metrics(pro_share: Reals, outcomes: Reals, amounts: Mapping[str, Reals]) -> Means:
    """Metrics of decisions.

    Args:
        pro_share: float[N], probability with which each request goes to pro: 0 or 1 for a router.
        outcomes: float[N, 2].
        amounts: what each request costs or gets at flash and at pro, float[N, 2], by name; each becomes a mean, and
            with `saved` (against pro) there is its share, with `settled` (right in the end) what a right answer costs.
    """
    label = needs_pro(outcomes)
    spent = {name: pair[:, FLASH] + pro_share * (pair[:, PRO] - pair[:, FLASH]) for name, pair in amounts.items()}
    columns = {
        "accuracy": outcomes[:, FLASH] + pro_share * (outcomes[:, PRO] - outcomes[:, FLASH]),
        "flash": outcomes[:, FLASH],
        "pro": outcomes[:, PRO],
        "pro_rate": pro_share,
        "needy": label.astype(float),
        "label_accuracy": np.where(label, pro_share, 1 - pro_share),
    }

    def derive(means: Mapping[str, Reals]) -> dict[str, Reals]:
        accuracy, flash, pro, needy = (means[name] for name in ("accuracy", "flash", "pro", "needy"))
        more = {name: means[name] for name in spent}
        if "saved" in more:
            more["saved_share"] = quotient(more["saved"], more["cost"] + more["saved"])
        if "settled" in more:
            more["cost_per_correct"] = quotient(more["cost"], more["settled"])
        return {
            "accuracy": accuracy,
            "gap": pro - flash,
            "quality": quotient(accuracy, pro),
            "pgr": quotient(accuracy - flash, pro - flash),
            "pro_rate": means["pro_rate"],
            **more,
            "label_accuracy": means["label_accuracy"],
            "majority_rate": np.maximum(needy, 1 - needy),
        }

    return Means(columns | spent, derive)


def probability_metrics(probabilities: Reals, outcomes: Reals) -> Means:
    """Brier score, log loss and expected calibration error of both heads and their mean.

    ECE has bins of equal count, cut on the unweighted rows.
    """
    safe = np.clip(probabilities, 1e-7, 1 - 1e-7)
    by_kind = {
        "brier": (probabilities - outcomes) ** 2,
        "log_loss": -np.where(outcomes == 1, np.log(safe), np.log1p(-safe)),
    }
    columns = {f"{kind}_{tier}": pair[:, at] for kind, pair in by_kind.items() for at, tier in enumerate(HEADS)}
    misses: dict[str, list[str]] = {tier: [] for tier in HEADS}
    for at, tier in enumerate(HEADS):
        place = equal_count_bins(probabilities[:, at])
        for number in np.unique(place):
            name = f"miss_{tier}_{number}"
            columns[name] = (place == number) * (probabilities[:, at] - outcomes[:, at])
            misses[tier].append(name)

    def derive(means: Mapping[str, Reals]) -> dict[str, Reals]:
        tiers = {name: means[name] for name in columns if not name.startswith("miss")}
        tiers |= {
            f"ece_{tier}": np.sum([np.abs(means[name]) for name in names], axis=0) for tier, names in misses.items()
        }
        both = {kind: (tiers[f"{kind}_flash"] + tiers[f"{kind}_pro"]) / 2 for kind in ("brier", "log_loss", "ece")}
        return both | tiers

    return Means(columns, derive)


def quotient(one: Reals, other: Reals) -> Reals:
    """NaN where it is not defined."""
    return np.asarray(one / np.where(other == 0, np.nan, other))


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
    values = measure(np.ones(len(groups)))
    if isinstance(measure, Means):
        draws = _resampled_means(measure, groups, seed)
    elif isinstance(measure, RankingMetrics):
        many = [measure.many(counts[:, groups]) for counts in _drawn(groups, seed)]
        draws = {name: np.concatenate([each[name] for each in many]) for name in values}
    else:
        found = [measure(weight) for weight in resampled(groups, seed)]
        draws = {name: np.array([each[name] for each in found]) for name in values}
    return {name: _estimate(value, draws[name]) for name, value in values.items()}


def mean_estimates(columns: Mapping[str, Reals], groups: NDArray[np.int64], seed: int) -> dict[str, Estimate]:
    """Means of columns, float[N] by name, with their intervals."""
    return estimates(Means(columns, dict), groups, seed)


def _resampled_means(measure: Means, groups: NDArray[np.int64], seed: int) -> dict[str, Reals]:
    """The metrics of the replicates, float64[R] by name, from sums over groups instead of rows."""
    sums = np.stack([np.bincount(groups), *(np.bincount(groups, column) for column in measure.columns.values())], 1)
    sizes, *totals = np.concatenate([counts @ sums for counts in _drawn(groups, seed)]).T
    return measure.derive({name: total / sizes for name, total in zip(measure.columns, totals, strict=True)})


def resampled(groups: NDArray[np.int64], seed: int) -> Iterator[Reals]:
    """Row weights of bootstrap replicates over whole groups."""
    for counts in _drawn(groups, seed):
        for count in counts:
            yield count[groups]


def _drawn(groups: NDArray[np.int64], seed: int) -> Iterator[Reals]:
    """How often each of G groups is drawn in bootstrap replicates, float64[at most REPLICATES_AT_ONCE, G]."""
    size = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    left = int(np.clip(CELLS_TO_RESAMPLE // len(groups), FEWEST_REPLICATES, REPLICATES))
    while left:
        count = min(left, REPLICATES_AT_ONCE)
        drawn = random.integers(0, size, (count, size)) + size * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size).astype(float)
        left -= count


def _estimate(value: float, draws: Reals) -> Estimate:
    defined = draws[~np.isnan(draws)]
    if len(defined) < len(draws) / 2:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
