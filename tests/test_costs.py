"""What requests cost: real usage to the cent, estimates where there is none, and all that it takes to deliver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import AT, PEAK, PRICE, TIERS, UNNAMED, price_file, rows, settings, tariff

from features.errors import InputError
from pipeline import costs
from pipeline.costs import RELATIVE_UNIT, USD_UNIT, Costs
from pipeline.metrics import FLASH, PRO, decision_metrics
from pipeline.sample import Sample
from pipeline.settings import ASSUMED, Settings

FLASH_PRICE, PRO_PRICE = (1.0, 0.1, 2.0), (10.0, 1.0, 20.0)
BOTH = price_file(FLASH_PRICE, PRO_PRICE)
RIGHT = np.ones((1, 2))
KNOWN = {"input_tokens": (1000, 1000), "cached_tokens": (400, 0), "output_tokens": (300, 500)}
MONDAY, TUESDAY, SATURDAY = "2026-06-01T07:00", "2026-06-02T07:00", "2026-06-06T07:00"


def costed(text: str, seen: Any) -> Costs:
    return tariff(text, seen).costs(seen)


def test_real_usage_is_priced_to_the_cent() -> None:
    found = costed(BOTH, rows(RIGHT, **KNOWN))
    flash = (600 * 1.0 + 400 * 0.1 + 300 * 2.0) / 1_000_000
    pro = (1000 * 10.0 + 500 * 20.0) / 1_000_000
    assert found.api[0] == pytest.approx([1000 * flash, 1000 * pro])
    assert (found.unit, found.told, found.in_usd, found.estimated) == (USD_UNIT, USD_UNIT, True, 0.0)


def test_tokens_that_are_not_known_are_estimated_from_the_rows_that_have_them() -> None:
    seen = rows(
        np.ones((3, 2)),
        input_tokens=[(30, 40), (50, 80), (np.nan, np.nan)],
        cached_tokens=[(8, 0), (np.nan, 0), (np.nan, np.nan)],
        output_tokens=[(100, 200), (300, 600), (np.nan, np.nan)],
    )
    rate = tariff(BOTH, seen).rates[FLASH]
    assert rate.tokens_per_word == pytest.approx((30 + 50) / 20)
    assert rate.output_tokens == 200
    assert rate.cache_share == pytest.approx(8 / 30)
    assert dict(rate.origins) == dict.fromkeys(ASSUMED, "traces") | {"latency_s": "assumed"}
    tokens = 10 * 4.0
    usd = (tokens * (1 - 8 / 30) * 1.0 + tokens * 8 / 30 * 0.1 + 200 * 2.0) / 1_000_000
    assert costed(BOTH, seen).api[2, FLASH] == pytest.approx(1000 * usd)


def test_word_of_the_context_has_five_bytes() -> None:
    seen = rows(RIGHT, words=10, context_bytes=50, input_tokens=(60, 60))
    assert tariff(BOTH, seen).rates[FLASH].tokens_per_word == pytest.approx(60 / 20)


def test_settings_come_before_what_the_traces_say() -> None:
    said = "tokens_per_word = 3.0\noutput_tokens = 7\ncache_share = 0.5\nlatency_s = 9\n"
    seen = rows(np.ones((2, 2)), **{name: [pair, (np.nan, np.nan)] for name, pair in KNOWN.items()})
    rate = tariff(price_file(FLASH_PRICE, PRO_PRICE, of=(said, "")), seen).rates[FLASH]
    assert (rate.tokens_per_word, rate.output_tokens, rate.cache_share, rate.latency_s) == (3.0, 7.0, 0.5, 9.0)
    assert set(rate.origins.values()) == {"settings"}


def test_what_neither_settings_nor_traces_say_is_assumed() -> None:
    rate = tariff(BOTH, rows(RIGHT)).rates[PRO]
    assert {name: getattr(rate, name) for name in ASSUMED} == ASSUMED
    assert set(rate.origins.values()) == {"assumed"}


@pytest.mark.parametrize(
    ("known", "share", "told"),
    [(0, 1.0, "tokens estimated"), (1, 0.75, "tokens estimated for 75% of the calls"), (4, 0.0, "1,000 requests")],
)
def test_share_of_estimated_calls_is_told(known: int, share: float, told: str) -> None:
    amounts = {name: [KNOWN[name]] * known + [(np.nan, np.nan)] * (4 - known) for name in KNOWN}
    found = costed(BOTH, rows(np.ones((4, 2)), **amounts))
    assert found.estimated == share
    assert found.told.endswith(told)


def test_bill_is_taken_where_tokens_are_not_known_and_tokens_where_they_are() -> None:
    amounts = {name: [KNOWN[name], (np.nan, np.nan)] for name in KNOWN}
    found = costed(BOTH, rows(np.ones((2, 2)), cost_usd=[(9.0, 9.0), (0.25, 0.5)], **amounts))
    assert found.api[0, FLASH] == pytest.approx(1.24)
    assert found.api[1] == pytest.approx([250, 500])
    assert found.estimated == 0


def test_tier_without_a_price_costs_what_it_was_billed_or_the_mean_of_that() -> None:
    seen = rows(np.ones((3, 2)), cost_usd=[(0.125, 1.0), (0.375, np.nan), (np.nan, np.nan)])
    found = costs.learn(Settings(), UNNAMED, seen, AT).costs(seen)
    assert found.api == pytest.approx(np.array([[125, 1000], [375, 1000], [250, 1000]]))
    assert found.in_usd
    assert found.estimated == 0.5


def test_model_that_the_traces_name_has_its_price_without_settings() -> None:
    found = costs.learn(Settings(), {"flash": "deepseek-v4-flash", "pro": "deepseek-v4-pro"}, rows(RIGHT), AT)
    assert [rate.price.output for rate in found.rates] == [0.28, 0.87]


def test_without_prices_cost_is_in_relative_units_and_nothing_but_the_calls_counts() -> None:
    told = settings("[delivery]\nescalation_rate = 1\nwaiting_usd_per_second = 1")
    seen = rows(np.zeros((2, 2)))
    found = costs.learn(told, UNNAMED, seen, AT).costs(seen)
    assert found.api.tolist() == found.delivery.tolist() == [[1, 12], [1, 12]]
    assert (found.told, found.in_usd) == (RELATIVE_UNIT, False)


def test_one_tier_of_two_with_a_price_by_chance_leaves_relative_units() -> None:
    found = costs.learn(Settings(), {"flash": "deepseek-v4-flash", "pro": "nobody's"}, rows(RIGHT), AT)
    assert not found.in_usd


@pytest.mark.parametrize("tier", ["flash", "pro"])
def test_one_tier_priced_in_the_settings_and_the_other_nowhere_is_an_error(tier: str) -> None:
    other = {"flash": "pro", "pro": "flash"}[tier]
    text = f'[tiers.{tier}]\nprice = "one"\n' + PRICE.format(name="one", input=1, cached=0, output=1)
    with pytest.raises(InputError, match=rf"{other} has no price.*\[tiers\.{other}\] of the --config file"):
        tariff(text, rows(RIGHT))


def test_price_is_that_of_the_moment() -> None:
    named = settings('[tiers.flash]\nprice = "deepseek-v4-flash"\n[tiers.pro]\nprice = "deepseek-v4-pro"')
    seen = rows(RIGHT, time=SATURDAY, input_tokens=(0, 0), output_tokens=(1000, 1000))
    found = [costs.learn(named, UNNAMED, seen, AT.replace(month=month, day=20)).costs(seen).api[0] for month in (6, 10)]
    assert found == [pytest.approx([0.28, 0.87]), pytest.approx([0.60, 1.98])]


def test_price_before_the_table_begins_is_an_error() -> None:
    named = settings('[tiers.flash]\nprice = "deepseek-v4-flash"\n[tiers.pro]\nprice = "deepseek-v4-pro"')
    with pytest.raises(InputError, match="the price table begins at 2026-04-24"):
        costs.learn(named, UNNAMED, rows(RIGHT), AT.replace(month=4, day=23))


@pytest.mark.parametrize(
    ("time", "usd"),
    [(MONDAY, 2 * 1 + 4 * 1), (TUESDAY, 1 + 2), (None, 3 + 3 * 6 / 168)],
    ids=["peak", "off", "unknown"],
)
def test_peak_prices_hold_at_the_row_s_own_time_and_for_their_share_of_the_week_where_it_is_unknown(
    time: str | None, usd: float
) -> None:
    flash = PRICE.format(name="made-up/flash", input=1.0, cached=1.0, output=2.0) + PEAK
    text = TIERS.format(flash="", pro="") + flash + PRICE.format(name="made-up/pro", input=9, cached=9, output=9)
    found = costed(text, rows(RIGHT, time=time, input_tokens=(1000, 1000), output_tokens=(1000, 1000)))
    assert found.api[0] == pytest.approx([usd, 18])


def test_peak_all_day_is_dearer_where_there_is_a_peak() -> None:
    flash = PRICE.format(name="made-up/flash", input=1.0, cached=1.0, output=2.0) + PEAK
    text = TIERS.format(flash="", pro="") + flash + PRICE.format(name="made-up/pro", input=9, cached=9, output=9)
    seen = rows(RIGHT, time=TUESDAY, input_tokens=(1000, 1000), output_tokens=(1000, 1000))
    found = tariff(text, seen)
    assert found.has_peak
    assert found.at_peak().costs(seen).api[0] == pytest.approx([6, 18])
    assert not tariff(BOTH, seen).has_peak


def test_attempts_that_were_observed_multiply_the_calls_and_settle_nothing_else() -> None:
    once = rows([[1, 0]], **KNOWN)
    found = costed(BOTH, rows([[1, 0]], attempts=(3, 2), **KNOWN))
    assert found.api == pytest.approx(costed(BOTH, once).api * [3, 2])
    assert found.settled.tolist() == [[1, 0]]


chance = st.fractions(0, 1, max_denominator=20)


@given(chance.filter(lambda p: p > 0), st.integers(1, 12))
def test_attempts_that_are_modelled_follow_the_geometric_law(p: Any, most: int) -> None:
    right = np.arange(p.denominator) < p.numerator
    seen = rows(np.stack([right, np.ones(len(right))], 1), input_tokens=(1000, 1000), output_tokens=(0, 0))
    found = costed(price_file(FLASH_PRICE, PRO_PRICE, of=(f"attempts = {most}", "")), seen)
    p, flash = float(p), found.api[:, FLASH].mean()
    assert flash == pytest.approx((1 - (1 - p) ** most) / p)
    assert found.settled[:, FLASH].mean() == pytest.approx(1 - (1 - p) ** most)
    assert flash / found.settled[:, FLASH].mean() == pytest.approx(1 / p)


@given(chance.filter(lambda p: p > 0), st.integers(1, 12))
def test_cost_of_a_correct_answer_is_cost_over_accuracy_however_often_it_is_tried(p: Any, most: int) -> None:
    right = np.arange(p.denominator) < p.numerator
    seen = rows(np.stack([right, right], 1), input_tokens=(1000, 1000), output_tokens=(0, 0))
    both = f"attempts = {most}"
    amounts = Sample(seen, costed(price_file(FLASH_PRICE, PRO_PRICE, of=(both, both)), seen), 0).amounts
    for tier, usd in ((FLASH, 1.0), (PRO, 10.0)):
        found = decision_metrics(np.full(len(right), float(tier)), seen.outcomes, amounts)(np.ones(len(right)))
        assert found["cost_per_correct"] == pytest.approx(usd / float(p))


@pytest.mark.parametrize("observed", [True, False], ids=["observed", "modelled"])
def test_article_s_cost_of_a_correct_answer_is_the_cost_of_an_attempt_times_the_attempts(observed: bool) -> None:
    """Flash 0.047 at 2.3 attempts, pro 0.039 at 1.1; as shares of right answers these are 10/23 and 10/11."""
    attempt = 0.047 / 2.3, 0.039 / 1.1
    count = 23 * 11
    flash, pro = (np.arange(count) < count * 10 // of for of in (23, 11))
    flash_tries, pro_tries = np.where(np.arange(10) < 3, 3, 2), np.where(np.arange(10) < 1, 2, 1)
    seen = (
        rows(np.ones((10, 2)), attempts=np.stack([flash_tries, pro_tries], 1))
        if observed
        else rows(np.stack([flash, pro], 1))
    )
    seen = replace(
        seen, usage=replace(seen.usage, input_tokens=seen.outcomes * 0 + 1000, output_tokens=seen.outcomes * 0)
    )
    prices = [(1000 * usd, 0, 0) for usd in attempt]
    endless = "" if observed else "attempts = 1000"
    amounts = Sample(seen, costed(price_file(*prices, of=(endless, endless)), seen), 0).amounts
    found = [
        decision_metrics(np.full(len(seen), tier), seen.outcomes, amounts)(np.ones(len(seen)))["cost_per_correct"]
        for tier in (0.0, 1.0)
    ]
    assert found == pytest.approx([47, 39])


@pytest.mark.parametrize(("success", "settled", "made"), [(0, 0.0, 4.0), (1, 1.0, 2.0)])
def test_retries_that_never_and_that_always_succeed(success: int, settled: float, made: float) -> None:
    text = price_file(FLASH_PRICE, PRO_PRICE, of=(f"attempts = 4\nretry_success = {success}", ""))
    found = costed(text, rows([[0, 0], [1, 1]], input_tokens=(1000, 1000), output_tokens=(0, 0)))
    assert found.settled[:, FLASH].tolist() == [settled, 1]
    assert found.api[:, FLASH] == pytest.approx([made, 1])


def test_wrong_answers_escalations_and_waiting_are_added_to_the_calls() -> None:
    delivery = (
        "[delivery]\nescalation_rate = 0.5\nescalation_minutes = 20\nhourly_wage_usd = 60\n"
        "wrong_answer_usd = 3\nwaiting_usd_per_second = 0.01\n"
    )
    text = price_file(FLASH_PRICE, PRO_PRICE, delivery)
    found = costed(text, rows([[0, 1]], latency_s=(2, 5), attempts=(3, 1), **KNOWN))
    waiting = [1000 * 2 * 3 * 0.01, 1000 * 5 * 0.01]
    assert found.waiting[0] == pytest.approx(waiting)
    wrong = 1000 * (0.5 * 20 / 60 * 60 + 3)
    assert found.delivery[0] == pytest.approx(found.api[0] + waiting + [wrong, 0])


def test_answer_that_is_put_right_by_a_retry_costs_no_person() -> None:
    text = price_file(
        FLASH_PRICE, PRO_PRICE, "[delivery]\nwrong_answer_usd = 1\n", of=("attempts = 2\nretry_success = 0.75", "")
    )
    found = costed(text, rows([[0, 1]], **KNOWN))
    assert found.delivery[0, FLASH] - found.api[0, FLASH] == pytest.approx(1000 * 0.25)


@given(st.sampled_from([FLASH, PRO]), st.floats(0, 100))
def test_cost_is_linear_in_the_price(tier: int, factor: float) -> None:
    seen = rows([[0, 1], [1, 0]], attempts=[(2, 1), (np.nan, np.nan)], **KNOWN)
    one = tariff(BOTH, seen)
    before, after = (each.costs(seen).api for each in (one, one.scaled(tier, factor)))
    assert after[:, tier] == pytest.approx(factor * before[:, tier])
    assert after[:, 1 - tier].tolist() == before[:, 1 - tier].tolist()


@given(st.floats(0, 100))
def test_dearer_wrong_answers_change_nothing_else(factor: float) -> None:
    seen = rows([[0, 1]], **KNOWN)
    one = tariff(price_file(FLASH_PRICE, PRO_PRICE, "[delivery]\nescalation_rate = 1\nwrong_answer_usd = 2\n"), seen)
    before, after = (each.costs(seen) for each in (one, one.escalating(factor)))
    assert after.api.tolist() == before.api.tolist()
    assert after.delivery - after.api == pytest.approx(factor * (before.delivery - before.api))


def test_equal_prices_and_equal_usage_cost_the_same() -> None:
    found = costed(price_file(PRO_PRICE, PRO_PRICE), rows(RIGHT, input_tokens=(70, 70), output_tokens=(9, 9)))
    assert found.api[0, FLASH] == found.api[0, PRO]


def test_what_a_tariff_prints_is_plain_and_whole() -> None:
    printed = tariff(BOTH, rows(RIGHT)).printed()
    assert printed["unit"] == USD_UNIT
    assert printed["tiers"]["pro"]["price"]["output"] == 20.0
    assert printed["tiers"]["pro"]["origins"]["output_tokens"] == "assumed"
    assert printed["priced_at"] == "2026-06-01T00:00:00+00:00"


def test_rows_are_taken_with_their_costs() -> None:
    found = costed(BOTH, rows(np.ones((3, 2)), input_tokens=[(1, 2), (3, 4), (5, 6)], output_tokens=(0, 0)))
    assert found.take(np.array([2, 0])).api.tolist() == found.api[[2, 0]].tolist()
