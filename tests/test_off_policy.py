"""Off-policy estimates: exact equivalences, double robustness, intervals that hold, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.errors import InputError, LearningError
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.nuisance import LEAST_ARRIVAL, Asked, Nuisances, nuisances
from pipeline.off_policy import (
    Inferred,
    compare,
    doubly_robust,
    explored_variance,
    ips,
    naive,
    overlap,
    pooled,
    pseudo,
    self_normalised,
)
from tests.bench.logged import Mask, Requests, requests

ROWS, LOGS = 600, 150
EXPLORE = 0.1


def drawn(seed: int = 0, rows: int = ROWS, missing: float = 0.3) -> tuple[Requests, Reals, np.random.Generator]:
    random = np.random.default_rng(seed)
    world = requests(rows, random, missing)
    return world, world.outcomes(random), random


def logged(seed: int = 0, rows: int = ROWS, missing: float = 0.3, explore: float = EXPLORE) -> tuple[Requests, Asked]:
    world, outcomes, random = drawn(seed, rows, missing)
    return world, world.log(outcomes, explore, random)


def some_policy(asked: Asked) -> Mask:
    return asked.design[:, 0] > 0


def of_chances(asked: Asked, right: Reals, arrival: Reals) -> Nuisances:
    """Nuisances given by hand."""
    return Nuisances(np.broadcast_to(right, asked.chances.shape), np.broadcast_to(arrival, asked.chances.shape))


def bias(right: float | None, arrival: float | None, tilt: float = 1.0) -> tuple[float, float]:
    """Mean error of always-pro's doubly robust estimate on many logs, and its standard error.

    Args:
        right: what is expected of every request; None: the truth.
        arrival: how likely every outcome is taken to arrive; None: the truth.
        tilt: what the true chances of being asked are multiplied with before they are believed.
    """
    errors = []
    for seed in range(LOGS):
        world, asked = logged(seed)
        believed = replace(asked, chances=asked.chances * tilt)
        known = of_chances(
            asked, world.right if right is None else right, world.arrival if arrival is None else arrival
        )
        estimate = doubly_robust(pseudo(believed, known), world.policies["always pro"], asked.groups)
        errors.append(estimate.value - world.right[:, PRO].mean())
    return float(np.mean(errors)), float(np.std(errors) / np.sqrt(LOGS))


def test_where_all_is_asked_and_answered_every_way_is_the_plain_mean() -> None:
    world, outcomes, random = drawn(missing=0)
    asked = world.audit(outcomes, random)
    known, to_pro = nuisances(asked, 0), some_policy(asked)
    plain = np.where(to_pro, outcomes[:, PRO], outcomes[:, FLASH]).mean()
    robust = doubly_robust(pseudo(asked, known), to_pro, asked.groups)
    others = [way(asked, known, to_pro) for way in (ips, self_normalised)]
    assert [each.value for each in (robust, *others, naive(asked, to_pro))] == pytest.approx([plain] * 4)


def test_the_loggers_own_policy_without_exploration_gets_the_observed_mean() -> None:
    world, asked = logged(missing=0, explore=0)
    known, served = nuisances(asked, 0), world.policies["logger"]
    observed = asked.outcomes[asked.seen].mean()
    assert doubly_robust(pseudo(asked, known), served, asked.groups).value == pytest.approx(observed)
    assert ips(asked, known, served).value == pytest.approx(observed)


def test_rows_repeated_within_their_group_are_no_further_evidence() -> None:
    world, asked = logged()
    outcomes, to_pro = pseudo(asked, nuisances(asked, 0)), world.policies["lower threshold"]
    once = doubly_robust(outcomes, to_pro, asked.groups)
    thrice = doubly_robust(np.repeat(outcomes, 3, axis=0), np.repeat(to_pro, 3), np.repeat(asked.groups, 3))
    assert (thrice.value, thrice.low, thrice.high, thrice.standard_error) == pytest.approx(
        (once.value, once.low, once.high, once.standard_error)
    )


def test_swapped_tiers_mirror_every_estimate() -> None:
    _, asked = logged()
    to_pro = some_policy(asked)
    mirrored = Asked(asked.outcomes[:, ::-1], asked.asked[:, ::-1], asked.chances[:, ::-1], asked.groups, asked.design)
    one, other = (
        [
            doubly_robust(pseudo(each, nuisances(each, 0)), policy, each.groups),
            ips(each, nuisances(each, 0), policy),
            self_normalised(each, nuisances(each, 0), policy),
            naive(each, policy),
        ]
        for each, policy in ((asked, to_pro), (mirrored, ~to_pro))
    )
    assert [(each.value, each.low) for each in one] == [pytest.approx((each.value, each.low)) for each in other]


def test_scaled_and_shifted_amounts_scale_and_shift_the_estimate() -> None:
    _, asked = logged()
    costs = replace(asked, outcomes=5 - 3 * asked.outcomes)
    one, other = (
        doubly_robust(pseudo(each, nuisances(each, 0)), some_policy(asked), asked.groups) for each in (asked, costs)
    )
    assert (other.value, other.low, other.high) == pytest.approx((5 - 3 * one.value, 5 - 3 * one.high, 5 - 3 * one.low))


def test_a_probability_of_going_to_pro_mixes_the_constants() -> None:
    _, asked = logged()
    outcomes = pseudo(asked, nuisances(asked, 0))
    mixed, flash, pro = (
        doubly_robust(outcomes, np.full(len(asked), share), asked.groups).value for share in (0.25, 0.0, 1.0)
    )
    assert mixed == pytest.approx(0.75 * flash + 0.25 * pro)


def test_a_comparison_is_the_difference_of_the_two_estimates() -> None:
    world, asked = logged()
    outcomes = pseudo(asked, nuisances(asked, 0))
    one, other = world.policies["always pro"], world.policies["lower threshold"]
    apart = [doubly_robust(outcomes, each, asked.groups).value for each in (one, other)]
    assert compare(outcomes, one, other, asked.groups).value == pytest.approx(apart[0] - apart[1])
    assert compare(outcomes, one, one, asked.groups).value == 0


def test_the_standard_error_of_single_rows_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).random(50)
    found = doubly_robust(np.stack([values, values], 1), np.ones(50, bool), np.arange(50))
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_wrong_expectations_do_no_harm_where_the_chances_are_right() -> None:
    off, error = bias(right=0.1, arrival=None)
    assert abs(off) < 4 * error


def test_wrong_chances_do_no_harm_where_the_expectations_are_right() -> None:
    off, error = bias(right=None, arrival=0.4, tilt=0.7)
    assert abs(off) < 4 * error


def test_wrong_expectations_and_wrong_chances_do_harm() -> None:
    off, error = bias(right=0.1, arrival=0.4, tilt=0.7)
    assert abs(off) > 8 * error


def test_outcomes_missing_by_luck_leave_the_estimate_unbiased() -> None:
    errors = []
    for seed in range(LOGS):
        world, outcomes, random = drawn(seed, missing=0)
        asked = world.log(outcomes, EXPLORE, random)
        lucky = replace(asked, outcomes=np.where(random.random(outcomes.shape) < 0.5, asked.outcomes, np.nan))
        estimate = doubly_robust(pseudo(lucky, nuisances(lucky, 0)), world.policies["always pro"], asked.groups)
        errors.append(estimate.value - world.right[:, PRO].mean())
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(LOGS)


def test_intervals_hold_and_the_naive_one_does_not() -> None:
    """The bench does this with a thousand logs of 5,000 rows, and finds 0.94 to 0.98."""
    truth = requests(400_000, np.random.default_rng(LOGS)).truth()
    held = {"robust": 0, "normalised": 0, "naive": 0}
    for seed in range(LOGS):
        world, asked = logged(seed, rows=2000)
        to_pro, known = world.policies["always pro"], nuisances(asked, seed)
        estimates = (
            doubly_robust(pseudo(asked, known), to_pro, asked.groups),
            self_normalised(asked, known, to_pro),
            naive(asked, to_pro),
        )
        for way, each in zip(held, estimates, strict=True):
            held[way] += each.low <= truth["always pro"] <= each.high
    allowed = 3 * np.sqrt(0.95 * 0.05 / LOGS)
    assert held["robust"] / LOGS > 0.95 - allowed
    assert held["normalised"] / LOGS > 0.95 - allowed
    assert held["naive"] / LOGS < 0.2


def test_doubly_robust_is_more_precise_than_weights_alone() -> None:
    world, asked = logged(rows=5000)
    known, to_pro = nuisances(asked, 0), world.policies["another router"]
    robust = doubly_robust(pseudo(asked, known), to_pro, asked.groups)
    assert robust.standard_error < 0.75 * ips(asked, known, to_pro).standard_error


def test_a_few_heavy_groups_widen_the_interval_beyond_the_normal_one() -> None:
    outcomes = np.random.default_rng(0).random((1000, 2))
    even = doubly_robust(outcomes, np.zeros(1000), np.arange(1000))
    outcomes[:8] *= 100
    heavy = doubly_robust(outcomes, np.zeros(1000), np.arange(1000))
    assert (even.high - even.low) / even.standard_error == pytest.approx(2 * 1.96, rel=0.01)
    assert (heavy.high - heavy.low) / heavy.standard_error > 2 * 2.1


def test_a_single_group_says_nothing_about_its_error() -> None:
    found = doubly_robust(np.ones((5, 2)), np.ones(5), np.zeros(5, np.int64))
    assert (found.value, found.low, found.high) == (1, -np.inf, np.inf)


def test_no_row_teaches_what_is_expected_of_its_own_group() -> None:
    _, asked = logged()
    turned = replace(
        asked, outcomes=np.where((asked.groups == asked.groups[0])[:, None], 1 - asked.outcomes, asked.outcomes)
    )
    mine = asked.groups == asked.groups[0]
    one, other = (nuisances(each, 0).expected for each in (asked, turned))
    assert (one[mine] == other[mine]).all()
    assert not np.allclose(one[~mine], other[~mine], atol=1e-9)


def test_expected_outcomes_follow_the_features() -> None:
    world, asked = logged(rows=5000)
    expected = nuisances(asked, 0).expected
    assert np.corrcoef(expected[:, FLASH], world.right[:, FLASH])[0, 1] > 0.7


def test_expected_amounts_stay_within_those_observed() -> None:
    _, asked = logged()
    costs = replace(asked, outcomes=np.exp(asked.design[:, :2]) + 2)
    expected, seen = nuisances(costs, 0).expected, costs.outcomes[costs.seen]
    assert seen.min() <= expected.min() < expected.max() <= seen.max()


def test_separable_outcomes_and_an_enormous_feature_leave_expectations_finite() -> None:
    _, asked = logged()
    design = asked.design.copy()
    design[:, 1], design[0, 2] = 7.0, 1e9
    outcomes = (design[:, [0, 0]] > 0).astype(float)
    found = nuisances(replace(asked, design=design, outcomes=outcomes), 0)
    assert np.isfinite(found.expected).all()
    assert ((found.expected > 0.5) == (outcomes == 1)).mean() > 0.95


def test_a_tier_with_one_kind_of_outcome_gets_its_mean() -> None:
    _, asked = logged()
    outcomes = asked.outcomes.copy()
    outcomes[:, PRO] = np.where(np.isnan(outcomes[:, PRO]), np.nan, 1.0)
    assert (nuisances(replace(asked, outcomes=outcomes), 0).expected[:, PRO] == 1).all()


def test_what_always_arrives_needs_no_regression_and_what_hardly_does_has_a_floor() -> None:
    _, asked = logged(missing=0)
    assert (nuisances(asked, 0).arrival == 1).all()
    rare = replace(asked, outcomes=np.where(np.arange(ROWS)[:, None] % 300 == 0, asked.outcomes, np.nan))
    assert (nuisances(rare, 0).arrival == LEAST_ARRIVAL).any()


def test_arrival_follows_what_it_depends_on() -> None:
    world, asked = logged(rows=5000)
    found = nuisances(asked, 0).arrival
    assert np.abs(found - world.arrival).mean() < 0.03


def test_given_expectations_are_taken_as_they_are() -> None:
    world, asked = logged()
    assert nuisances(asked, 0, expected=world.right).expected is world.right


def test_the_same_seed_gives_the_same_nuisances() -> None:
    _, asked = logged()
    assert (nuisances(asked, 3).expected == nuisances(asked, 3).expected).all()
    assert (nuisances(asked, 3).expected != nuisances(asked, 4).expected).any()


def test_a_policy_that_goes_where_the_log_never_asks_is_refused() -> None:
    world, asked = logged(explore=0)
    found = overlap(asked, world.policies["always pro"])
    assert found.uncovered == pytest.approx((~world.policies["logger"]).mean())
    with pytest.raises(LearningError, match=r"do not overlap .* ask both tiers a sample"):
        found.check()


def test_the_policy_that_was_logged_is_not_refused() -> None:
    world, asked = logged(explore=0)
    found = overlap(asked, world.policies["logger"])
    found.check()
    assert (found.uncovered, found.largest) == (0, 1)


def test_an_audit_tells_of_every_policy_as_many_groups_as_it_has() -> None:
    world, outcomes, random = drawn(missing=0)
    asked = replace(world.audit(outcomes, random), groups=np.arange(ROWS))
    for to_pro in (some_policy(asked), np.full(ROWS, 0.3)):
        found = overlap(asked, to_pro)
        assert (found.effective, found.telling) == pytest.approx((ROWS, ROWS))


def test_a_log_with_a_few_explored_requests_is_refused() -> None:
    world, asked = logged(explore=0.02)
    with pytest.raises(LearningError, match=r"hardly overlap .* explore more"):
        overlap(asked, world.policies["always pro"]).check()


def test_many_requests_do_not_hide_that_hardly_any_was_explored() -> None:
    """A tenth goes elsewhere, one in ten thousand of it by chance: none may have been, and nothing shows it."""
    rows = 100_000
    sent = np.tile([True, False], (rows, 1))
    chances = np.tile([1 - 1e-4, 1e-4], (rows, 1))
    asked = Asked(np.where(sent, 1.0, np.nan), sent, chances, np.arange(rows), np.zeros((rows, 1)))
    found = overlap(asked, np.arange(rows) % 10 == 0)
    assert found.effective > 50
    with pytest.raises(LearningError, match="hardly overlap"):
        found.check()


def test_expected_overlap_is_that_of_the_weights_that_were_drawn() -> None:
    world, asked = logged(rows=20_000)
    to_pro = world.policies["another router"]
    weights = (asked.seen / asked.chances)[np.arange(20_000), to_pro.astype(int)]
    summed = np.bincount(asked.groups, weights)
    assert overlap(asked, to_pro).effective == pytest.approx(summed.sum() ** 2 / (summed**2).sum(), rel=0.1)


def test_pooling_weighs_by_precision() -> None:
    sharp, blunt = (Inferred(value, 0, 0, error, 10**9, 1e9) for value, error in ((1.0, 0.1), (2.0, 0.3)))
    found = pooled([sharp, blunt])
    assert (found.value, found.standard_error) == pytest.approx((1.1, np.sqrt(0.009)))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.009), rel=0.001)


def test_a_small_audit_in_which_nothing_differs_is_not_certain() -> None:
    audit = compare(np.ones((50, 2)), np.ones(50), np.zeros(50), np.arange(50))
    logs = Inferred(0.04, 0.02, 0.06, 0.01, 5000, 100.0)
    assert (audit.value, audit.standard_error) == (0, 0)
    alone, found = pooled([audit]), pooled([audit, logs])
    assert alone.standard_error == pytest.approx(1 / 50)
    assert found.value == pytest.approx(0.04 * 0.8, rel=0.01)


def test_pooling_leaves_out_an_estimate_without_an_error() -> None:
    one = doubly_robust(np.ones((5, 2)), np.ones(5), np.zeros(5, np.int64))
    many = Inferred(0.5, 0.4, 0.6, 0.05, 10**6, 20.0)
    assert pooled([one, many]).value == 0.5
    assert pooled([one]) == one


def test_an_interval_at_another_level_reaches_as_far_as_that_level() -> None:
    found = Inferred(0.5, 0.4, 0.6, 0.05, 100, 1e9)
    assert found.reach(0.95) == pytest.approx(0.05 * 1.96, rel=0.001)
    assert found.reach(0.9) == pytest.approx(0.05 * 1.645, rel=0.001)


def test_no_agreement_is_not_defined_rather_than_zero() -> None:
    _, asked = logged(explore=0)
    against = asked.asked[:, FLASH]
    assert np.isnan(naive(asked, against).value)
    assert np.isnan(self_normalised(asked, nuisances(asked, 0), against).value)


def test_nothing_asked_is_refused() -> None:
    _, asked = logged()
    nothing = Asked(*(getattr(asked, name)[:0] for name in ("outcomes", "asked", "chances", "groups", "design")))
    with pytest.raises(LearningError, match="no request"):
        nuisances(nothing, 0)
    with pytest.raises(LearningError, match="do not overlap"):
        overlap(nothing, np.zeros(0)).check()


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_a_chance_that_is_no_probability_is_refused(wrong: float) -> None:
    _, asked = logged()
    with pytest.raises(InputError, match=r"not in \[0, 1\]"):
        replace(asked, chances=np.full_like(asked.chances, wrong))


def test_an_answer_against_a_chance_of_zero_is_refused() -> None:
    _, asked = logged()
    with pytest.raises(InputError, match="chance of being asked is 0"):
        replace(asked, chances=np.zeros_like(asked.chances))


def test_columns_of_different_lengths_and_a_design_without_a_number_are_refused() -> None:
    _, asked = logged()
    with pytest.raises(InputError, match="all"):
        replace(asked, groups=asked.groups[1:])
    with pytest.raises(InputError, match="no number"):
        replace(asked, design=asked.design * np.nan)


def test_variance_by_chances_is_that_of_the_outcomes_over_many_logs() -> None:
    draw, size = np.random.default_rng(0), 400
    one, other = np.arange(size) < 100, np.zeros(size, np.bool_)
    chances = np.tile([0.9, 0.1], (size, 1))
    noise, found = np.full((size, 2), 0.25), []
    for _ in range(2000):
        sent = draw.random(size) < 0.1
        asked = np.stack([~sent, sent], 1)
        right = (draw.random((size, 2)) < 0.5).astype(float)
        log = Asked(np.where(asked, right, np.nan), asked, chances, np.arange(size), np.zeros((size, 1)))
        pseudo_ = pseudo(log, Nuisances(np.full((size, 2), 0.5), np.ones((size, 2))))
        found.append(compare(pseudo_, one, other, log.groups).value)
    assert explored_variance(log, np.ones((size, 2)), noise, one, other) == pytest.approx(np.var(found), rel=0.1)


def test_difference_is_no_surer_than_the_chances_allow() -> None:
    _, asked = logged(rows=200)
    values, one, other = np.zeros((200, 2)), np.ones(200), np.zeros(200)
    assert compare(values, one, other, asked.groups).standard_error == 0
    assert compare(values, one, other, asked.groups, 0.0004).standard_error == pytest.approx(0.02)
