"""The sequential test of a claim: fair in expectation, false alarms, delays, and what it must not depend on."""

from __future__ import annotations

from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import guarantee, sequential
from pipeline.guarantee import Claim
from pipeline.sequential import BETS, LEVEL, Bets, shortfalls, span
from pipeline.watching.rows import among_arrived
from tests.bench.watching import NEVER, Setting, simulated

RATIO, POINTS = Claim("ratio", 0.98), Claim("points", 0.02)
claims = st.builds(Claim, st.sampled_from(guarantee.FORMS), st.sampled_from([0.02, 0.5, 0.98]))
probabilities = st.floats(0.0, 1.0)
pairs = st.tuples(probabilities, probabilities)
STREAMS, DAYS = 80, 20


def one(claim: Claim, seen: tuple[float, float], chance: float, expected: tuple[float, float], to_pro: bool) -> float:
    """The shortfall of a request whose pro was asked with a chance."""
    return float(
        shortfalls(claim, np.array([seen]), np.array([[1 - chance, chance]]), np.array([expected]), np.array([to_pro]))[
            0
        ]
    )


@given(claims, st.floats(0.01, 0.99), probabilities, probabilities, pairs, st.booleans())
def test_mean_shortfall_is_that_of_the_truth_whatever_the_version_expects(
    claim: Claim, chance: float, flash: float, pro: float, expected: tuple[float, float], to_pro: bool
) -> None:
    mean = 0.0
    for asked_pro, right in product((False, True), (0.0, 1.0)):
        truth = pro if asked_pro else flash
        weight = (chance if asked_pro else 1 - chance) * (truth if right else 1 - truth)
        seen = (np.nan, right) if asked_pro else (right, np.nan)
        mean += weight * one(claim, seen, chance, expected, to_pro)
    promised = claim.bound * pro if claim.form == "ratio" else pro - claim.bound
    assert mean == pytest.approx(promised - (pro if to_pro else flash), abs=1e-9)


@given(claims, st.floats(0.005, 0.5), st.booleans(), pairs, st.booleans())
def test_no_shortfall_of_a_log_is_below_its_span(
    claim: Claim, rate: float, mostly_pro: bool, expected: tuple[float, float], to_pro: bool
) -> None:
    chance = 1 - rate if mostly_pro else rate
    seen = [(np.nan, 0.0), (np.nan, 1.0), (0.0, np.nan), (1.0, np.nan)]
    lowest = min(one(claim, each, chance, expected, to_pro) for each in seen)
    assert lowest >= -span(claim, rate) - 1e-9


@given(claims, pairs, st.booleans())
def test_audit_is_read_as_it_is_and_keeps_to_its_span(
    claim: Claim, expected: tuple[float, float], to_pro: bool
) -> None:
    for flash, pro in product((0.0, 1.0), repeat=2):
        found = shortfalls(claim, np.array([[flash, pro]]), np.ones((1, 2)), np.array([expected]), np.array([to_pro]))[
            0
        ]
        promised = claim.bound * pro if claim.form == "ratio" else pro - claim.bound
        assert found == pytest.approx(promised - (pro if to_pro else flash))
        assert found >= -span(claim, 1.0)


def test_bet_on_a_fair_coin_is_worth_one_on_average_at_every_row() -> None:
    """All sequences of ten tosses, with so little between stakes that several join."""
    paths = np.array(list(product((-1.0, 1.0), repeat=10)))
    wealth = np.zeros(10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequential, "BETWEEN_STAKES", 3.0)
        for path in paths:
            bets = Bets()
            for at, toss in enumerate(path):
                bets = bets.after(np.array([toss]), np.array([1.0]))
                wealth[at] += np.exp(bets.wealth) / len(paths)
            assert bets.stakes == 3
    assert wealth == pytest.approx(np.ones(10))


def test_wealth_without_restarts_is_that_of_the_bets_by_hand() -> None:
    x = np.array([0.5, -0.25, 1.0])
    by_hand = 0.5 + 0.5 * np.mean([np.prod(1 + bet * x) for bet in BETS])
    assert np.exp(Bets().after(x, np.ones(3)).wealth) == pytest.approx(by_hand)


@given(st.lists(st.floats(-1, 5), min_size=1, max_size=60), st.integers(0, 60))
def test_looking_once_or_often_is_the_same(values: list[float], cut: int) -> None:
    x, scale = np.array(values), np.full(len(values), 0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequential, "BETWEEN_STAKES", 7.0)
        once = Bets().after(x, scale)
        often = Bets().after(x[:cut], scale[:cut]).after(x[cut:], scale[cut:])
    assert (once.stakes, once.rows) == (often.stakes, often.rows)
    assert [once.wealth, once.highest, *once.live] == pytest.approx([often.wealth, often.highest, *often.live])


def test_alarm_stays_though_wealth_is_lost_again() -> None:
    won = Bets().after(np.full(20, 1.0), np.ones(20))
    lost = won.after(np.full(400, -0.5), np.ones(400))
    assert won.alarm(LEVEL)
    assert lost.alarm(LEVEL)
    assert lost.wealth < log(1 / LEVEL)


def test_no_outcome_can_ruin_the_bet() -> None:
    assert np.isfinite(Bets().after(np.full(100_000, -1.0), np.ones(100_000)).wealth)


def test_interval_is_about_how_far_the_version_stands_from_its_claim() -> None:
    random = np.random.default_rng(0)
    x = random.choice([-1.0, 1.0], 5000, p=[0.55, 0.45])
    found = Bets().after(x, np.ones(5000)).standing(LEVEL)
    assert found is not None
    assert found.value == pytest.approx(-x.mean())
    assert found.low < 0.1 < found.high
    assert found.high - found.low < 0.15
    assert Bets().standing(LEVEL) is None


@pytest.mark.parametrize("setting", [Setting(0.05), Setting(0.05, audits=20), Setting(0.05, POINTS)])
def test_false_alarms_keep_to_the_level_where_a_daily_z_test_does_not(setting: Setting) -> None:
    watch, naive = simulated(setting, DAYS, STREAMS)
    assert (watch < NEVER).mean() <= LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / STREAMS)
    assert (naive < NEVER).mean() > 3 * LEVEL


@pytest.mark.parametrize("setting", [Setting(0.05, below=0.05), Setting(0.05, audits=20, below=0.05)])
def test_version_five_points_below_its_claim_is_found_within_three_weeks(setting: Setting) -> None:
    watch, _ = simulated(setting, 21, 20)
    assert (watch < NEVER).mean() >= 0.9


def test_version_that_gets_worse_after_two_good_months_is_found_too() -> None:
    watch, _ = simulated(Setting(0.05, below=0.10, before=-0.01, change=60), 80, 10)
    assert ((watch > 60) & (watch < NEVER)).mean() >= 0.9


def test_weights_and_chances_undo_that_outcomes_of_one_tier_arrive_more_often() -> None:
    """A million requests of two kinds; read as they arrive, both the tiers and the kinds would be told wrongly."""
    random, count = np.random.default_rng(0), 1_000_000
    to_pro = random.random(count) < 0.4
    of_pro = np.where(to_pro, 0.9, 0.1)
    chances = np.column_stack([1 - of_pro, of_pro])
    asked_pro = random.random(count) < of_pro
    asked = np.column_stack([~asked_pro, asked_pro])
    right = np.where(to_pro, 0.5, 0.8)  # of either tier
    waiting = random.random(count) >= np.where(asked_pro, 0.3, 0.7)
    outcomes = np.where(asked, (random.random(count) < right)[:, None], np.nan)
    found, weight = among_arrived(chances, asked, waiting)
    here = ~waiting
    expected = np.full((here.sum(), 2), 0.6)
    claim = Claim("ratio", 1.0)
    zero = shortfalls(claim, outcomes[here], found[here], expected, np.zeros(here.sum(), np.bool_))
    assert weight.max() <= 1
    assert np.average(zero, weights=weight[here]) == pytest.approx(0.0, abs=0.01)
    assert np.average(to_pro[here], weights=weight[here]) == pytest.approx(0.4, abs=0.01)
    assert abs(to_pro[here].mean() - 0.4) > 0.05


def test_outcomes_of_one_tier_that_arrive_more_often_raise_no_alarm() -> None:
    """Of flash 7 in 10 outcomes arrive, of pro 3; read as they come, they would say that pro is better than it is."""
    watch, _ = simulated(Setting(0.05, arrival=(0.7, 0.3)), DAYS, STREAMS)
    assert (watch < NEVER).mean() <= LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / STREAMS)
