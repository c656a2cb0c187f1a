"""Drift of a month: each kind is found by its own finding, and months without any stay quiet."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from made_up import AT, price_file, rows, tariff
from scipy.stats import binomtest, ks_1samp, uniform

from features.graph import FEATURES
from pipeline.drift import distance
from pipeline.drift.answers import answers
from pipeline.drift.distance import Mean, bins, counted, homogeneity, one_per_group, psi, same_mean, told_apart
from pipeline.drift.facts import Deployed
from pipeline.drift.finding import ALARM, LUCK, RETUNE, SMALL, STEADY, UNTESTED, Drift, Finding, holm, judged
from pipeline.drift.measure import measure
from pipeline.drift.page import TEMPLATE, headline, view
from pipeline.evidence import Evidence
from pipeline.observed import Observed

THRESHOLD = 0.25
QUIET_MONTHS = 200
SAME = Deployed(frozenset({"small-1"}), frozenset({"fp-1"}))
NAMES = {"flash": (SAME, SAME), "pro": (SAME, SAME)}
KINDS = ("letters", "numbers", "tools")


def population(groups: int, seed: int, *, copies: int = 1) -> Observed:
    """Requests whose features say how likely either tier is right, and a router that knows it."""
    random = np.random.default_rng(seed)
    each = random.normal(size=(groups, len(FEATURES)))
    each[:, 3] = 0  # nobody offers tools
    flash, pro = 1 / (1 + np.exp(-0.5 - each[:, 0])), np.full(groups, 0.9)
    chance = np.stack([flash, pro], 1)
    outcomes = random.random((groups, 2)) < chance
    seen = rows(np.repeat(outcomes, copies, 0), groups=np.repeat(np.arange(groups), copies))
    return replace(
        seen,
        features=np.repeat(each, copies, 0).astype(np.float32),
        probabilities=np.repeat(chance, copies, 0),
        evidence=np.repeat(random.uniform(0.8, 1, groups), copies).astype(np.float32),
        category=np.repeat(random.choice(KINDS, groups), copies).astype(object),
    )


def month(seen: Observed, seed: int, *, explored: float = 0.1, missing: float = 0.0, audit: bool = False) -> Evidence:
    """The requests as a service that explores has logged them."""
    random = np.random.default_rng([seed, 1])
    size = len(seen)
    of_pro = np.where(seen.gain >= THRESHOLD, 1 - explored / 2, explored / 2)
    to_pro = random.random(size) < of_pro
    asked, chances = np.stack([~to_pro, to_pro], 1), np.stack([1 - of_pro, of_pro], 1)
    if audit:
        asked, chances = np.ones((size, 2), bool), np.ones((size, 2))
    arrived = asked & (random.random(size) >= missing)[:, None]
    known = replace(seen, outcomes=np.where(arrived, seen.outcomes, np.nan))
    return Evidence(known, asked, chances, np.full(size, "latin", object), np.full(size, "v1", object))


@functools.cache
def prices(flash: float = 0.2) -> Any:
    return tariff(price_file((flash, flash, 0.6), (2.0, 0.2, 6.0)), rows([[1, 1]]), AT).printed()


def drift(now: Evidence, before: Observed | None = None, names: Any = NAMES, tariffs: Any = None) -> Drift:
    reference = Evidence.labelled(before or population(3000, 0))
    return measure(reference, now, names, tariffs or (prices(), prices()), 0)


def alarms(found: Drift) -> set[str]:
    return {finding.name for finding in found.alarms}


def finding(found: Drift, name: str) -> Finding:
    return next(one for one in found.findings if one.name == name)


def flipped(seen: Observed, tier: int, share: float) -> Observed:
    """With a share of the tier's right answers made wrong."""
    wrong = np.random.default_rng([7, 2]).random(len(seen)) < share
    outcomes = seen.outcomes.copy()
    outcomes[wrong, tier] = 0
    return replace(seen, outcomes=outcomes)


def shifted(seen: Observed, name: str, by: float) -> Observed:
    features = seen.features.copy()
    features[:, FEATURES.index(name)] += by
    return replace(seen, features=features)


# --- each kind of drift -----------------------------------------------------------------------------------------------


def test_a_month_of_the_same_traffic_raises_no_alarm() -> None:
    found = drift(month(population(3000, 1), 1, missing=0.2))
    assert not found.alarm
    assert found.tested == 9 + 3 + 4
    assert {one.verdict for one in found.findings if one.p_value is not None} <= {STEADY, LUCK, SMALL}


@pytest.mark.parametrize(
    ("feature", "title"), [("prompt_size", "Words in the prompt"), ("pro_vocabulary", "Pro's words")]
)
def test_a_feature_that_moved_is_named(feature: str, title: str) -> None:
    assert alarms(drift(month(shifted(population(3000, 1), feature, 0.6), 1))) == {title, "All together"}


def test_a_feature_that_was_constant_is_seen_to_move() -> None:
    now = population(3000, 1)
    now.features[:300, FEATURES.index("tool_count")] = np.log(3)
    assert "Tools offered" in alarms(drift(month(now, 1)))


def test_words_that_nobody_knew_are_named() -> None:
    now = population(3000, 1)
    found = drift(month(replace(now, evidence=now.evidence - np.float32(0.05)), 1))
    assert "Unknown words" in alarms(found)
    assert finding(found, "Unknown words").value == pytest.approx(5, abs=0.5)


def test_kinds_of_task_that_moved_are_named() -> None:
    now = population(3000, 1)
    found = drift(month(replace(now, category=np.where(now.category == "tools", "letters", now.category)), 1))
    assert alarms(found) == {"Kinds of task"}
    assert "letters" in finding(found, "Kinds of task").meaning


def test_kinds_that_are_new_count_as_one_that_moved() -> None:
    now = population(3000, 1)
    new = np.where(now.category == "tools", np.random.default_rng(2).choice(["songs", "poems"], 3000), now.category)
    found = finding(drift(month(replace(now, category=new), 1)), "Kinds of task")
    assert found.alarm
    assert found.value > 1


def test_braces_in_the_name_of_a_kind_do_no_harm() -> None:
    before, now = population(3000, 0), population(3000, 1)
    before = replace(before, category=np.where(before.category == "tools", "{songs}", before.category))
    others = np.random.default_rng(2).choice(["letters", "numbers"], 3000)
    now = replace(now, category=np.where(now.category == "tools", others, now.category))
    assert "“{songs}” moved most: 0.0" in finding(drift(month(now, 1), before), "Kinds of task").meaning


def test_logs_without_categories_say_nothing_about_them() -> None:
    now = population(3000, 1)
    found = drift(month(replace(now, category=np.full(len(now), "", object)), 1))
    assert "Kinds of task" not in {one.name for one in found.findings}
    assert not found.alarm


def test_what_no_single_feature_shows_is_seen_by_all_together() -> None:
    now = population(3000, 1)
    for name in FEATURES:
        now = shifted(now, name, 0.15 * (name != "tool_count"))
    assert alarms(drift(month(now, 1))) == {"All together"}


def test_a_worse_flash_is_found_where_it_is_asked() -> None:
    found = drift(month(flipped(population(6000, 1), 0, 0.12), 1))
    assert {"Calibration of flash"} <= alarms(found) <= {"Calibration of flash", "Base rate of flash"}
    assert finding(found, "Calibration of flash").value < -5


def test_an_audit_shows_the_base_rate_too() -> None:
    found = drift(month(flipped(population(6000, 1), 1, 0.1), 1, audit=True))
    assert alarms(found) == {"Base rate of pro", "Calibration of pro"}
    assert finding(found, "Base rate of pro").value == pytest.approx(-9, abs=2)


def test_base_rates_that_move_with_the_requests_leave_calibration_alone() -> None:
    before, many = population(3000, 0), population(20_000, 1)
    easy = many.take(np.flatnonzero(many.features[:, 0] > -0.5))
    found = drift(month(easy, 1, audit=True), before)
    assert "Base rate of flash" in alarms(found)
    assert not {"Calibration of flash", "Calibration of pro"} & alarms(found)


def test_a_base_rate_is_unbiased_under_exploration_and_missing_outcomes() -> None:
    now = flipped(population(40_000, 1), 0, 0.3)
    found = drift(month(now, 1, explored=0.3, missing=0.4))
    assert finding(found, "Base rate of flash").now == pytest.approx(now.outcomes[:, 0].mean(), abs=0.015)
    assert finding(found, "Outcomes missing").now == pytest.approx(0.4, abs=0.01)


def test_a_router_that_never_explores_has_a_calibration_but_no_base_rate() -> None:
    found = drift(month(flipped(population(6000, 1), 0, 0.15), 1, explored=0.0))
    assert alarms(found) == {"Calibration of flash"}
    rate = finding(found, "Base rate of flash")
    assert (rate.verdict, np.isnan(rate.value)) == (UNTESTED, True)
    assert "explore" in rate.meaning


def test_outcomes_that_are_missing_do_not_hide_how_much_worse_a_tier_is() -> None:
    now = flipped(population(20_000, 1), 0, 0.3)
    whole, part = (finding(drift(month(now, 1, missing=share)), "Calibration of flash") for share in (0.0, 0.5))
    assert part.value == pytest.approx(whole.value, abs=2)


def test_calibration_is_held_against_requests_that_are_asked_as_often() -> None:
    """A router that is wrong about flash, but only where it does not ask it, has not changed."""
    before, now = population(20_000, 0), population(20_000, 1)
    before, now = (
        replace(each, outcomes=np.where((each.gain >= THRESHOLD)[:, None], [[0.0, 1.0]], each.outcomes))
        for each in (before, now)
    )
    found = finding(drift(month(now, 1, explored=0.0), before), "Calibration of flash")
    assert abs(found.value) < 2
    assert found.verdict == STEADY


def test_calibration_needs_rows_like_those_that_are_asked() -> None:
    before, now = population(3000, 0), population(3000, 1)
    easy = replace(before, probabilities=np.tile([0.99, 0.5], (len(before), 1)))
    logged = month(now, 1, explored=0.0)
    flash, pro = (finding(drift(logged, easy), f"Calibration of {tier}") for tier in ("flash", "pro"))
    assert flash.p_value is not None
    assert pro.verdict == UNTESTED
    assert "unlike any" in pro.meaning


def test_rows_that_say_nothing_about_the_tiers_count_as_traffic_only() -> None:
    now = month(population(3000, 1), 1)
    useless = np.arange(3000) < 600
    now.asked[useless], now.chances[useless] = False, np.nan
    now.rows.outcomes[useless] = np.nan
    found = drift(now)
    assert finding(found, "Left out").now == pytest.approx(0.2)
    assert found.rows[1] == 3000
    assert not found.alarm


def test_a_month_without_any_outcome_is_said_to_have_too_few() -> None:
    now = month(population(3000, 1), 1, missing=1.0)
    found = drift(now)
    assert finding(found, "Calibration of pro").verdict == UNTESTED
    assert found.tested == 9 + 3
    assert not found.alarm


def test_a_month_of_limits_alone_is_read_as_traffic() -> None:
    now = month(population(3000, 1), 1)
    now.asked[:], now.chances[:] = False, np.nan
    assert not drift(now).alarm


def test_too_few_groups_are_not_tested_however_many_rows_they_have() -> None:
    found = drift(month(shifted(population(99, 1, copies=50), "prompt_size", 5), 1))
    assert not found.alarm
    assert found.tested == 0
    assert "99 independent requests" in found.findings[0].meaning
    assert drift(month(shifted(population(100, 1, copies=50), "prompt_size", 5), 1)).alarm


def test_an_empty_month_is_too_few() -> None:
    now = month(population(10, 1), 1)
    assert not drift(now.take(np.arange(0))).alarm


def test_copies_in_a_group_make_nothing_more_certain() -> None:
    once, often = (drift(month(population(400, 1, copies=copies), 1, audit=True)) for copies in (1, 20))
    p_values = [[one.p_value for one in found.findings if "of" in one.name and one.p_value] for found in (once, often)]
    assert p_values[0] == pytest.approx(p_values[1])


# --- logged decisions as the reference --------------------------------------------------------------------------------


def beside(before: Evidence, now: Evidence) -> Drift:
    return measure(before, now, NAMES, (prices(), prices()), 0)


@pytest.mark.parametrize("explored", [0.0, 0.1])
def test_an_audit_as_the_reference_finds_what_labelled_rows_do(explored: float) -> None:
    before, now = population(2000, 0, copies=2), month(flipped(population(2000, 1), 0, 0.1), 1, explored=explored)
    ours, theirs = (beside(each, now) for each in (month(before, 0, audit=True), Evidence.labelled(before)))
    assert json.dumps(ours.printed()) == json.dumps(theirs.printed())


def test_findings_beside_labelled_rows_are_means_over_all_of_them() -> None:
    """Of rows that are certain nothing is weighed."""
    before, now = population(2000, 0, copies=2), month(population(2000, 1), 1)
    found = beside(Evidence.labelled(before), now)
    assert finding(found, "Base rate of flash").before == before.outcomes[:, 0].mean()
    always = replace(now, chances=np.ones_like(now.chances))
    gap = 100 * (before.outcomes - before.probabilities)[:, 0].mean()
    assert finding(beside(Evidence.labelled(before), always), "Calibration of flash").before == pytest.approx(gap)


def test_a_month_of_what_was_logged_before_raises_no_alarm() -> None:
    found = beside(month(population(3000, 0), 0, missing=0.3), month(population(3000, 1), 1, missing=0.2))
    assert not found.alarm
    assert found.tested == 9 + 3 + 4


def test_a_worse_tier_is_found_beside_logged_decisions_that_knew_it_better() -> None:
    found = beside(month(population(6000, 0), 0), month(flipped(population(6000, 1), 0, 0.15), 1))
    assert "Calibration of flash" in alarms(found)


def test_a_tier_that_was_as_bad_before_is_no_news() -> None:
    before, now = (month(flipped(population(6000, seed), 0, 0.3), seed) for seed in (0, 1))
    assert "Calibration of flash" in alarms(drift(now))
    assert not beside(before, now).alarm


def test_the_reference_is_unbiased_under_exploration_and_missing_outcomes() -> None:
    before = flipped(population(40_000, 0), 0, 0.3)
    found = beside(month(before, 0, explored=0.3, missing=0.4), month(population(3000, 1), 1))
    assert finding(found, "Base rate of flash").before == pytest.approx(before.outcomes[:, 0].mean(), abs=0.015)


def test_a_reference_that_another_router_logged_is_held_against_what_both_asked() -> None:
    """Wrong about flash where it was seldom asked before: the month, which asks it half the time, has not changed."""
    before, now = population(40_000, 0), population(40_000, 1)
    before, now = (
        replace(each, outcomes=np.where((each.gain >= THRESHOLD)[:, None], [[0.0, 1.0]], each.outcomes))
        for each in (before, now)
    )
    found = finding(beside(month(before, 0, explored=0.1), month(now, 1, explored=1.0)), "Calibration of flash")
    assert found.before < -1
    assert found.value == pytest.approx(0, abs=1)
    assert found.verdict == STEADY


def test_a_reference_of_which_one_row_counts_for_hundreds_is_not_taken_for_certain() -> None:
    found = beside(month(population(1000, 0), 0, explored=0.02), month(population(3000, 1), 1, audit=True))
    assert (finding(found, "Base rate of pro").p_value or 0) > 0.2


@pytest.mark.parametrize(
    ("sides", "told"),
    [
        ((1.0, 0.0), "in the requests that the router was chosen on: 50"), ((0.0, 1.0), "in this month: 50"),
        ((1.0, 1.0), "in this month and in the requests that the router was chosen on: 50"),
    ],
)  # fmt: skip
def test_the_side_that_has_too_few_answers_is_named(sides: tuple[float, float], told: str) -> None:
    before, now = (month(population(1000, seed), seed, missing=missing) for seed, missing in enumerate(sides))
    found = finding(beside(before, now), "Calibration of flash")
    assert found.verdict == UNTESTED
    assert told in found.meaning


def test_a_reference_that_never_explored_has_a_calibration_but_no_base_rate() -> None:
    before = month(population(6000, 0), 0, explored=0.0)
    worse = flipped(population(6000, 1), 0, 0.15)
    rate = finding(beside(before, month(worse, 1)), "Base rate of flash")
    assert rate.verdict == UNTESTED
    assert "In the requests that the router was chosen on" in rate.meaning
    assert "Calibration of flash" in alarms(beside(before, month(worse, 1, explored=0.0)))


def test_what_a_month_is_compared_with_is_told() -> None:
    before, now = population(300, 0), month(population(300, 1), 1)
    times = np.datetime64("2026-02-01T12:00", "us") + np.arange(300) * np.timedelta64(1, "h")
    logged = month(replace(before, time=times), 0)
    assert "300 labelled rows that the champion was measured on" in page(beside(Evidence.labelled(before), now))
    said = "300 logged decisions of 2026-02-01 to 2026-02-13 that the champion was chosen on"
    assert said in page(beside(logged, now))
    assert "300 logged decisions that the champion was chosen on" in page(beside(month(before, 0), now))


# --- models and prices ------------------------------------------------------------------------------------------------


def test_another_model_and_another_fingerprint_are_alarms_by_their_names() -> None:
    new = Deployed(frozenset({"small-2"}), frozenset({"fp-1", "fp-2"}))
    found = drift(month(population(3000, 1), 1), names=NAMES | {"flash": (SAME, new)})
    assert alarms(found) == {"Model of flash", "Fingerprint of flash"}
    assert finding(found, "Model of flash").now == "small-2"


def test_names_that_are_not_known_are_no_alarm() -> None:
    found = drift(month(population(3000, 1), 1), names=NAMES | {"pro": (SAME, Deployed())})
    assert finding(found, "Model of pro").verdict == UNTESTED
    assert not found.alarm


def test_a_price_that_changed_is_no_alarm_but_a_reason_to_tune() -> None:
    found = drift(month(population(3000, 1), 1), tariffs=(prices(), prices(0.4)))
    assert not found.alarm
    assert found.prices_changed
    assert finding(found, "Price of flash").verdict == RETUNE
    assert finding(found, "Price of flash").value > 0
    assert finding(found, "Price of pro").verdict == STEADY


def test_usage_that_changed_is_no_change_of_price() -> None:
    now = json.loads(json.dumps(prices()))
    now["tiers"]["pro"]["output_tokens"] *= 3
    assert not drift(month(population(3000, 1), 1), tariffs=(prices(), now)).prices_changed


def test_no_prices_at_all_are_said_to_be_unknown() -> None:
    unknown = tariff("", rows([[1, 1]])).printed()
    found = drift(month(population(3000, 1), 1), tariffs=(unknown, unknown))
    assert finding(found, "Price of pro").verdict == UNTESTED
    assert not found.prices_changed


# --- one level for all ------------------------------------------------------------------------------------------------


def test_months_of_the_same_traffic_raise_the_alarm_at_most_as_often_as_the_level_says() -> None:
    """A level of 0.2 leaves more alarms to count; what is material must not be what keeps them quiet."""
    raised = 0
    for seed in range(QUIET_MONTHS):
        before, now = population(250, 2 * seed), population(200, 2 * seed + 1)
        found = measure(Evidence.labelled(before), month(now, seed), NAMES, (prices(), prices()), seed, 0.2)
        raised += any(one.adjusted is not None and one.adjusted <= 0.2 for one in found.findings)
    assert binomtest(raised, QUIET_MONTHS, 0.2, alternative="greater").pvalue > 0.01
    assert raised > 0.05 * QUIET_MONTHS


def test_holm_rejects_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_the_p_values_and_bonferroni(p_values: list[float]) -> None:
    for p_value, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p_value <= adjusted <= min(1.0, len(p_values) * p_value) or adjusted == pytest.approx(p_value)


def one(value: float, p_value: float | None) -> Finding:
    return Finding("made up", "requests", value, "score", "", material=0.1, p_value=p_value)


@pytest.mark.parametrize(
    ("value", "p_value", "verdict"),
    [(0.2, 0.001, ALARM), (-0.2, 0.001, ALARM), (0.05, 0.001, SMALL), (0.2, 0.5, LUCK), (0.05, 0.5, STEADY)],
)
def test_an_alarm_is_both_certain_and_large(value: float, p_value: float, verdict: str) -> None:
    assert judged([one(value, p_value)], 0.05)[0].verdict == verdict


def test_two_findings_share_the_level() -> None:
    assert [each.verdict for each in judged([one(0.2, 0.03), one(0.2, 0.04)], 0.05)] == [LUCK, LUCK]


def test_a_finding_without_a_p_value_takes_no_share_of_the_level() -> None:
    found = judged([one(0.2, 0.04), one(0.2, None)], 0.05)
    assert [each.verdict for each in found] == [ALARM, UNTESTED]


# --- distances --------------------------------------------------------------------------------------------------------


def test_psi_is_zero_for_equal_shares_and_grows_with_distance() -> None:
    base = np.full(10, 1000.0)
    assert psi(base, 3 * base) == pytest.approx(0, abs=1e-3)
    assert psi(np.array([5e5, 5e5]), np.array([6e5, 4e5])) == pytest.approx(
        0.1 * np.log(1.2) - 0.1 * np.log(0.8), rel=1e-3
    )


def test_bins_hold_a_tenth_each_where_nothing_ties() -> None:
    values = np.random.default_rng(0).permutation(1000).astype(np.float32)
    assert counted(bins(values), values) == pytest.approx(np.full(10, 100), abs=1)


def test_a_value_that_many_share_has_a_bin_of_its_own() -> None:
    values = np.zeros(1000, np.float32)
    assert counted(bins(values), np.array([-1, 0, 0, 1], np.float32)).tolist() == [1, 2, 1]


def test_p_values_of_equal_distributions_are_uniform() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(300):
        before, now = random.normal(size=500), random.normal(size=300)
        ends = bins(before)
        found.append(homogeneity(counted(ends, before), counted(ends, now)))
    assert ks_1samp(found, uniform.cdf).pvalue > 0.01


def test_sparse_bins_are_taken_together() -> None:
    assert homogeneity(np.array([1000.0, 0.0]), np.array([998.0, 2.0])) == 1.0
    assert homogeneity(np.array([1000.0, 0.0]), np.array([960.0, 40.0])) < 1e-6


def test_a_mean_over_groups_is_that_of_their_means() -> None:
    amount = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    mean = Mean.over(amount, np.ones(5), np.array([0, 1, 1, 1, 2]))
    assert mean.value == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert mean.variance == pytest.approx(np.var([1, 1 / 3, 1], ddof=1) / 3)


def test_a_mean_without_any_failure_is_not_taken_for_certain() -> None:
    sure = Mean.over(np.zeros(100), np.ones(100), np.arange(100), largest=50.0)
    assert same_mean(sure, Mean(0.1, 1e-6, 1000.0)) > 0.05
    assert same_mean(Mean.over(np.zeros(100), np.ones(100), np.arange(100)), Mean(0.1, 1e-6, 1000.0)) < 0.05


def test_equal_constants_are_equal() -> None:
    constant = Mean.over(np.ones(100), np.ones(100), np.arange(100))
    assert same_mean(constant, constant) == 1.0
    assert same_mean(constant, replace(constant, value=0.0)) == 0.0


def test_one_row_of_each_group_is_drawn_evenly() -> None:
    groups = np.array([0, 0, 0, 2, 2, 5])
    random = np.random.default_rng(0)
    drawn = np.array([one_per_group(groups, random) for _ in range(3000)])
    assert (groups[drawn] == [0, 2, 5]).all()
    assert np.bincount(drawn[:, 0]) == pytest.approx(1000, abs=100)


def test_a_classifier_tells_nothing_apart_where_nothing_differs() -> None:
    random = np.random.default_rng(0)
    found = [told_apart(random.normal(size=(120, 5)), random.normal(size=(80, 5)), 0)[1] for _ in range(150)]
    assert ks_1samp(found, uniform.cdf).pvalue > 0.01


def test_a_classifier_looks_at_no_more_rows_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    before, now = random.normal(size=(5000, 3)), random.normal(0.5, size=(5000, 3))
    few = told_apart(before, now, 0)
    monkeypatch.setattr(distance, "LARGEST_SIDE", 500)
    less = told_apart(before, now, 0)
    assert few[1] < less[1] < 0.01
    assert few[0] == pytest.approx(less[0], abs=0.06)


# --- the whole and its page -------------------------------------------------------------------------------------------


def test_the_same_seed_finds_the_same() -> None:
    now = month(population(500, 1), 1)
    assert drift(now) == drift(now)


def test_drift_prints_as_json() -> None:
    printed = drift(month(population(300, 1), 1, explored=0.0)).printed()
    assert json.loads(json.dumps(printed, allow_nan=False)) == printed
    assert {one["name"] for one in printed["findings"]} >= {"Words in the prompt", "Price of pro"}


def page(found: Drift) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    text = '{% import "drift.html.j2" as drift %}{{ drift.style() }}{{ drift.section(view) }}'
    return environment.from_string(text).render(view=view(found))


def test_the_page_names_every_finding_with_its_meaning_and_the_alarm_on_top() -> None:
    found = drift(month(shifted(population(3000, 1), "prompt_size", 0.6), 1))
    text = page(found)
    assert headline(found) == "Drift: Words in the prompt, All together."
    for one_of in found.findings:
        assert f">{one_of.name.replace(chr(39), '&#39;')}<" in text
    assert len(re.findall('class="moving"', text)) == 2
    assert "nan" not in re.sub("<[^>]*>", "", text)


def test_a_category_on_the_page_is_text_and_no_markup() -> None:
    now = population(3000, 1)
    now = replace(now, category=np.where(now.category == "tools", "letters", now.category))
    before = population(3000, 0)
    names = {"letters": "<script>", "numbers": "numbers", "tools": "tools"}
    before, now = (
        replace(each, category=np.array([names[name] for name in each.category], object)) for each in (before, now)
    )
    text = page(drift(month(now, 1), before))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_the_page_says_when_prices_changed_and_when_there_is_too_little() -> None:
    assert "Prices changed" in page(drift(month(population(300, 1), 1), tariffs=(prices(), prices(0.4))))
    few = drift(month(population(30, 1), 1))
    assert headline(few) == "Drift could not be tested: there are too few requests."
    assert "too few to tell drift" in page(few)


def test_answers_are_those_of_the_tiers_in_order() -> None:
    reference = Evidence.labelled(population(500, 0))
    names = [each.name for each in answers(reference, month(population(500, 1), 1), 0)]
    assert names[:4] == ["Base rate of flash", "Calibration of flash", "Base rate of pro", "Calibration of pro"]
