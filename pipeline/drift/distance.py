"""How far two samples lie apart, and how likely chance alone takes them there. Every group counts once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.metrics import Reals

BINS = 10
HALF = 0.5  # added to every count of a PSI, so that an empty bin is no infinity (Krichevsky and Trofimov 1981)
FEWEST_EXPECTED = 5.0  # in a cell of a chi-square test; bins with less are taken together (Cochran 1954)
LARGEST_SIDE = 20_000


def one_per_group(groups: Ints, random: np.random.Generator) -> Ints:
    """One row of each group, drawn at random: int64[G], rows in the order of the groups' codes."""
    shuffled = random.permutation(len(groups))
    drawn = np.full(groups.max(initial=-1) + 1, -1)
    drawn[groups[shuffled]] = shuffled  # of a group's rows the last one stays
    return np.asarray(drawn[drawn >= 0])


def bins(reference: NDArray[np.floating]) -> NDArray[np.floating]:
    """Upper ends of the bins of a number, ascending, the last bin open: deciles of the reference, float[K].

    A value that several deciles fall on has a bin of its own, so a number that was constant has three: less, as it
    was, and more.
    """
    deciles = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    ends, times = np.unique(deciles, return_counts=True)
    return np.union1d(ends, np.nextafter(ends[times > 1], -np.inf, dtype=ends.dtype))


def counted(ends: NDArray[np.floating], values: NDArray[np.floating]) -> Reals:
    """How many of the values fall in each bin, float64[K + 1]."""
    return np.bincount(np.searchsorted(ends, values, side="left"), minlength=len(ends) + 1).astype(float)


def psi(before: Reals, now: Reals) -> float:
    """Population stability index of two rows of counts: the sum of (q - p) ln(q / p) over bins that anything is in."""
    before, now = (counts[(before + now) > 0] + HALF for counts in (before, now))
    p, q = before / before.sum(), now / now.sum()
    return float(((q - p) * np.log(q / p)).sum())


def homogeneity(before: Reals, now: Reals) -> float:
    """P-value of "both rows of counts come from one distribution": Pearson's chi-square, sparse bins taken together.

    The usual test of a PSI, that PSI / (1/n + 1/m) is chi-square, is the same to first order, but its logarithms rate
    an empty bin too high.
    """
    from scipy.stats import chi2

    table = _merged(np.stack([before, now]))
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    return float(chi2.sf(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1))


def _merged(table: Reals) -> Reals:
    """Counts [2, K] with neighbouring bins taken together until every cell is expected to hold enough."""
    smaller = table.sum(1).min() / table.sum()
    columns: list[Reals] = []
    held = np.zeros(2)
    for column in table.T:
        held = held + column
        if held.sum() * smaller >= FEWEST_EXPECTED:
            columns, held = [*columns, held], np.zeros(2)
    if columns:
        columns[-1] = columns[-1] + held
    return np.stack(columns, 1) if columns else held[:, None]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over G independent groups.

    Attributes:
        value: the mean.
        variance: of that mean.
        freedom: degrees of freedom of the variance; fewer where few groups decide it.
    """

    value: float
    variance: float
    freedom: float

    @classmethod
    def over(cls, amount: Reals, weight: Reals, groups: Ints, largest: float = 0.0) -> Mean:
        """Weighted mean of an amount.

        The variance is taken as if one more group as far off as possible had been seen: where one row in a hundred
        counts a hundredfold, a sample without any such row knows nothing of them. Degrees of freedom are
        2 G / (kurtosis - 1), those of a chi-square with the variance's own variance: few where few rows decide.

        Args:
            amount: float64[N], already times its weight.
            weight: float64[N], >= 0, not all 0.
            groups: int64[N], codes of at least 0; the rows of a group share one count.
            largest: the most that one row can be off, times its weight.
        """
        sizes = np.bincount(groups)
        some = sizes > 0
        amounts, weights = (np.bincount(groups, each)[some] / sizes[some] for each in (amount, weight))
        value, size = amounts.sum() / weights.sum(), len(amounts)
        moved = np.append(amounts - value * weights, largest) / weights.mean()
        square = (moved**2).sum() / size
        kurtosis = (moved**4).sum() / size / square**2 if square else 3.0
        return cls(float(value), float(square / (size - 1)), float(np.clip(2 * size / (kurtosis - 1 or 1), 1, size)))


def same_mean(one: Mean, other: Mean) -> float:
    """P-value of "both means are equal", by Welch's test."""
    from scipy.stats import t

    variance = one.variance + other.variance
    if not variance:
        return float(one.value == other.value)
    freedom = variance**2 / (one.variance**2 / one.freedom + other.variance**2 / other.freedom)
    return float(2 * t.sf(abs(one.value - other.value) / np.sqrt(variance), freedom))


def told_apart(before: Reals, now: Reals, seed: int) -> tuple[float, float]:
    """How well a logistic regression tells rows of two samples apart: AUC, and the p-value of "not at all".

    Fitted on one half, it ranks the other, where 0.5 is chance and Mann and Whitney's test is exact but for the normal
    curve. Folds that take turns would use every row twice, but their ranks depend on each other: that test was wrong
    twice as often as it said.

    Args:
        before, now: float64[N, F] and [M, F], independent rows; at most `LARGEST_SIDE` of each are looked at.
        seed: of the draw and the halves.
    """
    from scipy.stats import norm, rankdata
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(seed)
    sides = [side[random.permutation(len(side))[:LARGEST_SIDE]] for side in (before, now)]
    rows, label = np.concatenate(sides), np.repeat([0, 1], [len(side) for side in sides])
    rows = (rows - rows.mean(0)) / np.where(rows.std(0) > 0, rows.std(0), 1)
    fitted = np.concatenate([np.arange(len(side)) % 2 == 0 for side in sides])
    model = LogisticRegression(class_weight="balanced", solver="newton-cholesky").fit(rows[fitted], label[fitted])
    rank, mine = rankdata(model.decision_function(rows[~fitted])), label[~fitted] == 1
    many, few = int((~mine).sum()), int(mine.sum())
    area = float((rank[mine].sum() - few * (few + 1) / 2) / (many * few))
    deviation = np.sqrt(rank.var(ddof=1) / (len(rank) * many * few))
    return area, float(norm.sf((area - 0.5) / deviation)) if deviation else 1.0
