"""The field's metrics: their fixed points, their bounds, ties, and weights as repetition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.metrics import (
    FLASH,
    PRO,
    Curve,
    Ranking,
    decision_metrics,
    estimates,
    mean_estimates,
    probability_metrics,
    ranking_metrics,
    resampled,
)

COSTS = (1.0, 12.0)
Reals = NDArray[np.float64]
row = st.tuples(st.integers(-3, 3), st.booleans(), st.booleans())
samples = st.lists(row, min_size=2, max_size=40).map(np.array).map(lambda rows: rows.astype(float))
ones = np.ones


def gapped(rows: Reals) -> tuple[Reals, Reals]:
    """Scores and outcomes of a sample in which pro is better than flash."""
    outcomes = rows[:, 1:]
    assume(outcomes[:, PRO].sum() > outcomes[:, FLASH].sum())
    return rows[:, 0], outcomes


def decisions(share: Reals, outcomes: Reals) -> dict[str, float]:
    return decision_metrics(share, outcomes, spent(outcomes))(ones(len(outcomes)))


def spent(outcomes: Reals) -> dict[str, Reals]:
    """The same cost at each tier for every request."""
    return {"cost": np.tile(COSTS, (len(outcomes), 1))}


@given(samples)
def test_pgr_is_0_for_always_flash_and_1_for_always_pro(rows: Reals) -> None:
    _, outcomes = gapped(rows)
    pgr = [decisions(np.full(len(outcomes), share), outcomes)["pgr"] for share in (0.0, 1.0)]
    assert pgr == pytest.approx([0, 1])


@given(samples)
def test_curve_runs_from_always_flash_to_always_pro(rows: Reals) -> None:
    curve = Ranking.by(rows[:, 0], rows[:, 1:]).curve()
    assert (curve.pro_rate[0], curve.pro_rate[-1]) == (0, 1)
    assert [curve.accuracy[0], curve.accuracy[-1]] == pytest.approx(rows[:, 1:].mean(0))


def test_random_router_has_half_apgr_on_average() -> None:
    random = np.random.default_rng(0)
    outcomes = (random.random((50, 2)) < (0.4, 0.8)).astype(float)
    found = [Ranking.by(random.random(50), outcomes).curve().apgr() for _ in range(4000)]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - 0.5) < 4 * error


@given(samples)
def test_constant_score_has_exactly_half_apgr(rows: Reals) -> None:
    _, outcomes = gapped(rows)
    assert Ranking.by(np.zeros(len(rows)), outcomes).curve().apgr() == pytest.approx(0.5)


@given(samples)
def test_no_router_is_above_the_oracle(rows: Reals) -> None:
    scores, outcomes = gapped(rows)
    router, oracle = (Ranking.by(score, outcomes).curve() for score in (scores, outcomes[:, PRO] - outcomes[:, FLASH]))
    assert router.apgr() <= oracle.apgr() + 1e-12
    assert router.aiq() <= oracle.aiq() + 1e-12
    assert (router.accuracy <= np.interp(router.pro_rate, oracle.pro_rate, oracle.accuracy) + 1e-12).all()


@given(samples, st.permutations(range(40)))
def test_order_of_rows_with_equal_scores_changes_nothing(rows: Reals, order: list[int]) -> None:
    scores, outcomes = gapped(rows)
    shuffled = np.array([at for at in order if at < len(rows)])
    one, other = (ranking_metrics(scores[at], outcomes[at])(ones(len(rows))) for at in (np.arange(len(rows)), shuffled))
    assert one == pytest.approx(other, nan_ok=True)


@given(samples)
def test_apgr_with_ties_is_the_mean_over_their_random_orders(rows: Reals) -> None:
    scores, outcomes = gapped(rows[:12])
    random = np.random.default_rng(1)
    broken = [Ranking.by(scores + random.random(len(scores)) / 2, outcomes).curve().apgr() for _ in range(600)]
    assert Ranking.by(scores, outcomes).curve().apgr() == pytest.approx(
        np.mean(broken), abs=5 * np.std(broken) / np.sqrt(600) + 1e-9
    )


@given(samples, st.data())
def test_weights_equal_repetition(rows: Reals, data: st.DataObject) -> None:
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    assume(times.any())
    repeated = np.repeat(np.arange(len(rows)), times)
    for measure in (
        ranking_metrics,
        lambda score, outcomes: decision_metrics((score > 0) * 1.0, outcomes, spent(outcomes)),
    ):
        weighted = measure(rows[:, 0], rows[:, 1:])(times.astype(float))
        assert weighted == pytest.approx(
            measure(rows[repeated, 0], rows[repeated, 1:])(ones(len(repeated))), nan_ok=True
        )


def hull_height(curve: Curve, rate: float) -> float:
    """The highest point at a pro rate on any chord between two points of the curve made non-decreasing."""
    points = list(zip(curve.pro_rate.tolist(), np.maximum.accumulate(curve.accuracy).tolist(), strict=True))
    return max(
        a[1] + (b[1] - a[1]) * (rate - a[0]) / (b[0] - a[0])
        for a in points
        for b in points
        if a[0] <= rate <= b[0] and a[0] < b[0]
    )


@given(samples)
def test_aiq_is_the_mean_height_of_the_hull(rows: Reals) -> None:
    curve = Ranking.by(rows[:, 0], rows[:, 1:]).curve()
    heights = [hull_height(curve, rate) for rate in curve.pro_rate]
    assert curve.aiq() == pytest.approx(np.trapezoid(heights, curve.pro_rate))


@given(samples, st.floats(0.05, 1))
def test_cpt_is_the_least_pro_rate_that_recovers_the_share(rows: Reals, share: float) -> None:
    scores, outcomes = gapped(rows)
    curve = Ranking.by(scores, outcomes).curve()
    fine = np.linspace(0, 1, 20_001)
    reached = fine[np.interp(fine, curve.pro_rate, curve.pgr) >= share - 1e-9]
    assert curve.cpt(share) == pytest.approx(reached[0], abs=1e-4)


@given(samples)
def test_auroc_is_the_chance_that_a_pair_is_in_order(rows: Reals) -> None:
    score, label = rows[:, 0], (rows[:, 2] == 1) & (rows[:, 1] == 0)
    assume(label.any() and not label.all())
    differences = score[label][:, None] - score[~label][None, :]
    expected = ((differences > 0) + (differences == 0) / 2).mean()
    assert Ranking.by(score, rows[:, 1:]).auroc() == pytest.approx(expected)


def test_auroc_with_one_class_is_not_defined() -> None:
    assert np.isnan(Ranking.by(np.arange(3.0), np.ones((3, 2))).auroc())


def test_metrics_over_no_gap_are_not_defined() -> None:
    measured = ranking_metrics(np.arange(4.0), np.ones((4, 2)))(ones(4))
    assert all(np.isnan(measured[name]) for name in ("apgr", "cpt50", "cpt80"))


@given(samples)
def test_decisions_are_counted(rows: Reals) -> None:
    share, outcomes = (rows[:, 0] > 0).astype(float), rows[:, 1:]
    found = decisions(share, outcomes)
    right = [pro if to_pro else flash for to_pro, (flash, pro) in zip(share, outcomes, strict=True)]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["pro_rate"] == pytest.approx(share.mean())
    assert found["cost"] == pytest.approx(np.mean([COSTS[int(to_pro)] for to_pro in share]))


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    probabilities = np.tile([[0.25, 0.5]], (400, 1))
    outcomes = np.column_stack([np.arange(400) % 4 == 0, np.arange(400) % 2 == 0]).astype(float)
    found = probability_metrics(probabilities, outcomes)(ones(400))
    assert found["ece"] == pytest.approx(0)
    assert (found["brier_flash"], found["brier_pro"]) == pytest.approx((0.1875, 0.25))


def test_bootstrap_draws_whole_groups() -> None:
    groups = np.repeat(np.arange(6), [1, 2, 3, 1, 2, 3])
    for weight in resampled(groups, 0):
        drawn = [set(weight[groups == group].tolist()) for group in range(6)]
        assert all(len(values) == 1 for values in drawn)
        assert sum(values.pop() for values in drawn) == 6


def test_interval_of_grouped_rows_is_that_of_the_groups() -> None:
    random = np.random.default_rng(2)
    values = random.random(80)
    alone, fourfold = np.arange(80), np.repeat(np.arange(80), 4)
    one = estimates(lambda weight: {"mean": float(weight @ values / weight.sum())}, alone, 5)
    other = estimates(lambda weight: {"mean": float(weight @ values[fourfold] / weight.sum())}, fourfold, 5)
    assert (other["mean"].low, other["mean"].high) == pytest.approx((one["mean"].low, one["mean"].high))


@given(st.integers(1, 6), st.integers(0, 3))
def test_quick_estimates_of_means_are_the_estimates(per_group: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.sort(random.integers(0, 8, 8 * per_group))
    groups = np.unique(groups, return_inverse=True)[1]
    columns = {"one": random.random(len(groups)), "other": random.normal(size=len(groups))}
    slow = estimates(
        lambda weight: {name: weight @ each / weight.sum() for name, each in columns.items()}, groups, seed
    )
    quick = mean_estimates(columns, groups, seed)
    for name, found in quick.items():
        assert (found.value, found.low, found.high) == pytest.approx(
            (slow[name].value, slow[name].low, slow[name].high)
        )


def test_amounts_become_means_over_the_tiers_that_were_chosen() -> None:
    outcomes = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    amounts = {"cost": np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]), "settled": outcomes}
    found = decision_metrics(np.array([1.0, 0.0, 0.5]), outcomes, amounts)(np.array([2.0, 1.0, 1.0]))
    assert found["cost"] == pytest.approx((2 * 10 + 2 + 16.5) / 4)
    assert found["cost_per_correct"] == pytest.approx(found["cost"] / (3 / 4))


def test_cost_of_a_correct_answer_is_not_defined_where_there_is_none() -> None:
    outcomes = np.zeros((4, 2))
    amounts = {"cost": np.ones((4, 2)), "settled": outcomes}
    assert np.isnan(decision_metrics(np.zeros(4), outcomes, amounts)(ones(4))["cost_per_correct"])


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for seed in range(100):
        values = random.random(60)
        found = estimates(lambda weight, v=values: {"mean": float(weight @ v / weight.sum())}, np.arange(60), seed)
        covered += found["mean"].low <= 0.5 <= found["mean"].high
    assert covered >= 87


@given(samples)
def test_curve_holds_one_point_for_each_score(rows: Reals) -> None:
    curve = Ranking.by(rows[:, 0], rows[:, 1:]).curve()
    assert len(curve.pro_rate) == len(set(rows[:, 0].tolist())) + 1
    assert all(before < after for before, after in pairwise(curve.pro_rate.tolist()))


@given(samples, st.integers(0, 2**16))
def test_many_weightings_at_once_are_the_same_as_one_by_one(rows: Reals, seed: int) -> None:
    score, outcomes = rows[:, 0], rows[:, 1:]
    measure = ranking_metrics(score, outcomes)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(rows))).astype(float)
    weights[:, 0] += 1
    found = measure.many(weights)
    for at, weight in enumerate(weights):
        for name, value in measure(weight).items():
            assert found[name][at] == pytest.approx(value, nan_ok=True, abs=1e-9), name
