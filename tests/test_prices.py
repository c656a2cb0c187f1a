"""Prices: which one is in force, when peak is, and what a request costs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from pipeline.collect.budget import Fare
from pipeline.collect.protocol import Used
from pipeline.prices import PACKAGED, Price, Prices, packaged, parsed
from pipeline.tables import loaded, nearest, validated

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OFFICE = {"zone": "UTC", "days": ["mon"], "hours": ["09:00-12:00"]}

usd_per_million = st.floats(0, 1000)
tokens = st.integers(0, 1_000_000)
peak_share = st.floats(0, 1)
clock = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
spans = st.tuples(clock, clock | st.just("24:00")).filter(lambda pair: pair[0] != pair[1]).map("-".join)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def naive(*parts: int) -> datetime:
    return utc(*parts).replace(tzinfo=None)


def moments(first: datetime, last: datetime) -> st.SearchStrategy[datetime]:
    return st.datetimes(first.replace(tzinfo=None), last.replace(tzinfo=None), timezones=st.just(UTC))


def block(name: str = "host/model", start: object = utc(2026, 1, 1), **more: Any) -> dict[str, Any]:
    return {"deployment": name, "from": start, "input": 1.0, "output": 2.0, "source": "test", **more}


def price(name: str = "host/model", start: object = utc(2026, 1, 1), **more: Any) -> Price:
    (entry,) = parsed({"price": [block(name, start, **more)]}, "test.toml")
    return entry


def peak_price(when: object = None, **more: Any) -> Price:
    return price(peak={"when": when or OFFICE, "input": 3.0, "cached": 0.3, "output": 6.0} | more)


def times(*values: datetime | None) -> np.ndarray:
    return np.array([value and value.replace(tzinfo=None) for value in values], "datetime64[us]")


def refused(**more: Any) -> str:
    with pytest.raises(InputError) as error:
        price(**more)
    return str(error.value)


names, years = st.sampled_from("ab"), moments(utc(2024, 1, 1), utc(2028, 1, 1))

# -- which price is in force


@given(st.lists(st.tuples(names, years), min_size=1, unique=True), names, years)
def test_price_in_force_is_that_of_a_scan_of_all_entries(
    starts: list[tuple[str, datetime]], name: str, time: datetime
) -> None:
    table = Prices(tuple(price(deployment, start) for deployment, start in starts))
    before = [start for deployment, start in starts if deployment == name and start <= time]
    if not before:
        with pytest.raises(InputError, match=f"price '{name}'"):
            table.at(name, time)
        return
    assert table.at(name, time).start == max(before)


def test_price_is_in_force_from_its_very_moment() -> None:
    table = Prices((price(start=utc(2026, 1, 1)), price(start=utc(2026, 2, 1), input=5.0)))
    assert table.at("host/model", utc(2026, 1, 31, 23, 59, 59)).input == 1.0
    assert table.at("host/model", utc(2026, 2, 1)).input == 5.0


def test_time_without_zone_is_utc_and_with_one_is_converted() -> None:
    table = Prices(
        (price(start=datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=8)))), price(start=date(2026, 2, 1)))
    )
    assert table.at("host/model", naive(2025, 12, 31, 16)).start == utc(2025, 12, 31, 16)
    assert table.at("host/model", datetime(2026, 1, 31, 20, tzinfo=timezone(timedelta(hours=-4)))).start.month == 2


def test_alias_has_its_own_blocks_until_the_other_name_takes_over() -> None:
    table = Prices((price("old", date(2026, 1, 1)), price("new", date(2026, 2, 1), aliases=["old"], input=5.0)))
    assert [table.at("old", utc(2026, month, 1)).input for month in (1, 2)] == [1.0, 5.0]
    assert table.names == ("new", "old")
    with pytest.raises(InputError, match="begins at 2026-02-01"):
        table.at("new", utc(2026, 1, 1))


def test_table_contains_deployments_and_aliases_only() -> None:
    table = Prices((price("new", aliases=["old"]),))
    assert "new" in table
    assert "old" in table
    assert "older" not in table


def test_own_entries_stand_above_the_others_from_their_first_on() -> None:
    table = Prices((price(), price(start=date(2026, 6, 1), input=9.0), price("other")))
    extended = table.extended([price(start=date(2026, 2, 1), input=7.0), price(start=date(2026, 3, 1), input=8.0)])
    asked = {month: extended.at("host/model", utc(2026, month, 1)).input for month in (1, 2, 3, 6)}
    assert asked == {1: 1.0, 2: 7.0, 3: 8.0, 6: 8.0}
    assert extended.at("other", utc(2026, 6, 1)).input == 1.0
    assert table.at("host/model", utc(2026, 3, 1)).input == 1.0


def test_added_block_under_a_name_wins_over_a_packaged_alias_of_the_same_moment() -> None:
    table = Prices((price("new", aliases=["old"]),)).extended([price("old", input=7.0)])
    assert table.at("old", utc(2026, 1, 1)).input == 7.0
    assert table.at("new", utc(2026, 1, 1)).input == 1.0


def test_unknown_deployment_names_the_nearest_and_how_to_add_one() -> None:
    message = r"price 'deepsek-flash': .*nearest: deepseek-flash.*add a \[\[price\]\] block"
    with pytest.raises(InputError, match=message):
        packaged().at("deepsek-flash", utc(2026, 10, 20))


def test_deployment_like_no_other_names_all() -> None:
    with pytest.raises(InputError, match="nearest: a/x, b/y;"):
        Prices((price("b/y"), price("a/x"))).at("????", utc(2026, 1, 1))


def test_empty_table_says_that_it_has_none() -> None:
    with pytest.raises(InputError, match="nearest: none"):
        Prices(()).at("model", utc(2026, 1, 1))


def test_time_before_the_first_entry_names_its_date() -> None:
    message = (
        r"'host/model' at 2025-01-01 00:00 UTC: the price table begins at 2026-01-01 00:00 UTC; add .*earlier `from`"
    )
    with pytest.raises(InputError, match=message):
        Prices((price(start=date(2027, 1, 1)), price())).at("host/model", utc(2025, 1, 1))


def test_nearest_ignores_case() -> None:
    assert nearest("Output", ["output", "input"])[0] == "output"


# -- what a request costs


@given(usd_per_million, usd_per_million, usd_per_million, st.tuples(tokens, tokens, tokens), peak_share)
def test_cost_is_the_sum_of_tokens_times_prices(
    uncached: float, cached: float, output: float, counts: tuple[int, int, int], share: float
) -> None:
    fresh, hits, out = counts
    entry = price(input=uncached, cached=cached, output=output)
    expected = (fresh * uncached + hits * cached + out * output) / 1e6
    assert float(entry.usd(fresh + hits, hits, out, share)) == pytest.approx(expected)


@given(st.floats(0, 100), st.tuples(tokens, tokens, tokens), peak_share)
def test_cost_is_linear_in_the_price(factor: float, counts: tuple[int, int, int], share: float) -> None:
    fresh, hits, out = counts
    entry = peak_price()
    usage = (fresh + hits, hits, out, share)
    assert float(entry.scaled(factor).usd(*usage)) == pytest.approx(factor * float(entry.usd(*usage)))


@given(st.tuples(tokens, tokens, tokens), peak_share)
def test_cost_at_a_share_of_peak_is_the_mix_of_both(counts: tuple[int, int, int], share: float) -> None:
    fresh, hits, out = counts
    entry = peak_price()
    off, mixed, on = entry.usd(fresh + hits, hits, out, [0.0, share, 1.0])
    assert mixed == pytest.approx((1 - share) * off + share * on)


def test_cached_input_costs_as_much_as_input_where_left_out() -> None:
    assert float(price().usd(1_000_000, 1_000_000, 0, 0)) == 1.0
    assert float(peak_price(cached=None).usd(1_000_000, 1_000_000, 0, 1)) == 3.0


def test_arrays_cost_what_their_requests_cost() -> None:
    entry = peak_price()
    rows = np.array([[10, 5, 3, 0], [20, 0, 7, 1], [0, 0, 0, 0.5]])
    assert entry.usd(*rows.T).tolist() == [float(entry.usd(*row)) for row in rows]


def test_unknown_count_costs_an_unknown_sum() -> None:
    assert np.isnan(price().usd([1.0, np.nan], 0, 1, 0)).tolist() == [False, True]


def test_more_cached_than_input_names_the_request() -> None:
    message = "request 2: cached_tokens 6 of input_tokens 5: input tokens include the cached ones"
    with pytest.raises(InputError, match=message):
        price().usd([5, 5], [5, 6], 0, 0)


def test_always_peak_costs_at_any_time_what_peak_costs() -> None:
    entry = peak_price()
    always = entry.always_peak()
    assert float(always.usd(9, 5, 4, 0)) == float(entry.usd(9, 5, 4, 1))
    assert always.peak_share == 0
    assert price().always_peak() == price()


def test_always_peak_has_no_cached_price_of_the_cheap_hours() -> None:
    entry = price(cached=0.1, peak={"when": OFFICE, "input": 3.0, "output": 6.0})
    assert float(entry.always_peak().usd(1_000_000, 1_000_000, 0, 0)) == 3.0


def test_one_request_costs_by_its_time() -> None:
    fare, used = Fare(Prices((peak_price(),)), "host/model"), Used(1_000_000, 0, 0, None)
    assert fare.usd(used, utc(2026, 11, 2, 9)) == pytest.approx(3.0)
    assert fare.usd(used, naive(2026, 11, 2, 12)) == pytest.approx(1.0)
    assert fare.usd(used, datetime(2026, 11, 2, 12, tzinfo=ZoneInfo("Europe/Berlin"))) == pytest.approx(3.0)


def test_one_request_that_crosses_into_peak_hours_costs_as_one_of_them() -> None:
    fare, used = Fare(Prices((peak_price(),)), "host/model"), Used(1_000_000, 0, 0, None)
    assert fare.usd(used, utc(2026, 11, 2, 12), utc(2026, 11, 2, 9)) == pytest.approx(3.0)


# -- when peak is


def slowly_at_peak(time: datetime, when: dict[str, Any]) -> bool:
    """Peak by the definition, one time and one span after the other, on the clock of the zone."""
    local = time.astimezone(ZoneInfo(when["zone"])).replace(tzinfo=None)
    for span in when["hours"]:
        start, end = (int(part[:2]) * 60 + int(part[3:]) for part in span.split("-"))
        for day in (local.date(), local.date() - timedelta(days=1)):
            midnight = datetime.combine(day, datetime.min.time())
            begins, ends = midnight + timedelta(minutes=start), midnight + timedelta(minutes=end)
            ends += timedelta(days=end < start)
            if begins <= local < ends and DAYS[day.weekday()] in when["days"] and day not in when["except"]:
                return True
    return False


peaks = st.fixed_dictionaries(
    {
        "zone": st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Shanghai", "Asia/Kathmandu"]),
        "days": st.lists(st.sampled_from(DAYS), min_size=1, unique=True),
        "hours": st.lists(spans, min_size=1, max_size=3),
        "except": st.lists(st.dates(date(2026, 3, 1), date(2026, 3, 31)), max_size=5),
    }
)


@given(peaks, st.lists(moments(utc(2026, 3, 1), utc(2026, 4, 1)), min_size=1, max_size=50))
def test_peak_is_that_of_a_loop_over_times_and_hours(when: dict[str, Any], asked: list[datetime]) -> None:
    expected = [float(slowly_at_peak(time, when)) for time in asked]
    assert peak_price(when).peak_at(times(*asked)).tolist() == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("month", [3, 10, 11])
def test_peak_follows_the_clock_when_it_changes(zone: str, month: int) -> None:
    when = {"zone": zone, "days": list(DAYS), "hours": ["01:30-02:30", "23:15-00:45"], "except": []}
    asked = [utc(2026, month, 1) + timedelta(minutes=15 * at) for at in range(30 * 96)]
    assert peak_price(when).peak_at(times(*asked)).tolist() == [float(slowly_at_peak(time, when)) for time in asked]


def test_hours_are_half_open() -> None:
    monday = utc(2026, 11, 2)
    asked = [monday + timedelta(hours=9), monday + timedelta(hours=12) - timedelta(microseconds=1)]
    outside = [monday + timedelta(hours=9) - timedelta(microseconds=1), monday + timedelta(hours=12)]
    assert peak_price().peak_at(times(*asked, *outside)).tolist() == [1, 1, 0, 0]


def test_hours_that_cross_midnight_belong_to_the_day_they_start() -> None:
    when = {**OFFICE, "hours": ["22:00-02:00"], "except": [date(2026, 11, 9)]}
    asked = [utc(2026, 11, day, 1) for day in (2, 3, 10)]
    assert peak_price(when).peak_at(times(*asked)).tolist() == [0, 1, 0]


def test_whole_day_is_peak_until_the_midnight_after() -> None:
    entry = peak_price({**OFFICE, "hours": ["00:00-24:00"]})
    assert entry.peak_at(times(utc(2026, 11, 2, 23, 59), utc(2026, 11, 3))).tolist() == [1, 0]


@given(peaks)
@settings(max_examples=5)
def test_unknown_time_is_peak_by_the_share_of_a_week(when: dict[str, Any]) -> None:
    entry = peak_price({**when, "zone": "UTC", "except": [date(1970, 1, 5), date(2026, 11, 2)]})
    without = {**when, "zone": "UTC", "except": []}
    week = [utc(2026, 11, 2) + timedelta(minutes=at) for at in range(7 * 24 * 60)]
    share = np.mean([slowly_at_peak(time, without) for time in week])
    assert entry.peak_at(times(None)).tolist() == [pytest.approx(share)]
    assert entry.peak_share == pytest.approx(share)


def test_unknown_times_do_not_disturb_known_ones() -> None:
    shares = peak_price().peak_at(times(None, utc(2026, 11, 2, 9), None, utc(2026, 11, 2, 8)))
    assert shares.tolist() == [pytest.approx(3 / 168), 1, pytest.approx(3 / 168), 0]


def test_no_time_gives_no_share() -> None:
    assert peak_price().peak_at(times()).tolist() == []


def test_price_without_peak_is_never_at_peak() -> None:
    assert price().peak_at(times(None, utc(2026, 11, 2, 9))).tolist() == [0, 0]


# -- what a block may say


def test_left_out_field_is_named_with_its_entry() -> None:
    with pytest.raises(InputError, match=r"my.toml: price 2 \(host/model\): input is missing: add it"):
        parsed({"price": [block(), {"deployment": "host/model"}]}, "my.toml")


def test_unknown_key_names_the_nearest() -> None:
    message = "test.toml: price 1 (host/model, 2026-01-01 00:00 UTC): cachd: unknown key; use cached, or drop it"
    assert refused(cachd=1.0) == message


def test_unknown_key_like_no_other_names_all() -> None:
    assert "price 1 (host/model, 2026-01-01 00:00 UTC): ????: unknown key; use input, cached, output" in refused(
        **{"????": 1}
    )


def test_unknown_key_of_peak_is_named_by_its_path() -> None:
    assert "peak.ouput: unknown key; use output, " in refused(
        peak={"when": OFFICE, "input": 1.0, "output": 1.0, "ouput": 1.0}
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"input": -1.0}, "input = -1.0: expected greater than or equal to 0"),
        ({"input": float("nan")}, "input = nan: expected a finite number"),
        ({"output": float("inf")}, "output = inf: expected a finite number"),
        ({"output": "2.0"}, "output = '2.0': expected a valid number"),
        ({"output": True}, "output = True: expected a valid number"),
        ({"source": ""}, "source = '': String should have at least 1 character"),
        ({"aliases": "old"}, "aliases = 'old': expected a list, as ['old']"),
        ({"start": "2026-01-01"}, "from = '2026-01-01': expected a date or a time without quotes, such as 2026-08-16T"),
        ({"start": 5}, "from = 5: expected a date or a time without quotes"),
        ({"peak": 2.0}, "peak = 2.0: expected a table"),
        ({"peak": {"input": 1.0, "output": 1.0}}, "peak.when is missing: add it"),
    ],
)
def test_bad_value_is_named_with_what_was_expected(more: dict[str, Any], message: str) -> None:
    assert message in refused(**more)


@pytest.mark.parametrize(("given", "shown"), [({"old": 1}, "{...}"), (5, "5")])
def test_no_list_is_made_of_what_could_not_be_in_it(given: Any, shown: str) -> None:
    assert refused(aliases=given).endswith(f"aliases = {shown}: expected a list")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"zone": "Mars/Olympus"}, "zone = 'Mars/Olympus': expected an IANA time zone, such as"),
        ({"zone": "../UTC"}, "zone = '../UTC': expected an IANA time zone"),
        ({"zone": "America"}, "zone = 'America': expected an IANA time zone"),
        ({"zone": ""}, "zone = '': expected an IANA time zone"),
        ({"days": ["monday"]}, "days.0 = 'monday': expected 'mon', 'tue'"),
        ({"days": []}, "days = []: Tuple should have at least 1 item"),
        ({"hours": ["9-12"]}, "hours.0 = '9-12': expected hours such as \"09:00-12:00\""),
        ({"hours": ["24:00-02:00"]}, "hours.0 = '24:00-02:00': expected hours such as"),
        ({"hours": ["09:00-09:00"]}, "hours.0 = '09:00-09:00': expected a start and another end"),
        ({"except": ["2026-01-01"]}, "except.0 = '2026-01-01': expected a valid date"),
        ({"holidays": []}, "holidays: unknown key; use "),
    ],
)
def test_bad_peak_hours_are_named_with_what_was_expected(more: dict[str, Any], message: str) -> None:
    assert f"peak.when.{message}" in refused(peak={"when": OFFICE | more, "input": 1.0, "output": 1.0})


def test_peak_hours_can_be_named_after_a_table_of_the_file() -> None:
    document = {
        "price": [block(peak={"when": "office", "input": 3.0, "output": 6.0})],
        "peak_hours": {"office": OFFICE},
    }
    assert parsed(document, "my.toml")[0].peak_share == pytest.approx(3 / 168)


def test_packaged_peak_hours_can_be_named_from_anywhere() -> None:
    assert peak_price("deepseek").peak_share == pytest.approx(35 / 168)


def test_own_peak_hours_win_over_packaged_ones_of_that_name() -> None:
    document = {
        "price": [block(peak={"when": "deepseek", "input": 3.0, "output": 6.0})],
        "peak_hours": {"deepseek": OFFICE},
    }
    assert parsed(document, "my.toml")[0].peak_share == pytest.approx(3 / 168)


def test_unknown_peak_hours_name_the_nearest() -> None:
    message = "peak.when = 'depseek': no such peak hours; use deepseek, or add a table [peak_hours.depseek]"
    assert message in refused(peak={"when": "depseek", "input": 1.0, "output": 1.0})


def test_bad_named_peak_hours_are_named_by_their_table() -> None:
    document = {"price": [block(peak={"when": "office", "input": 3.0, "output": 6.0})], "peak_hours": {"office": {}}}
    with pytest.raises(InputError, match=r"my.toml: peak_hours.office: zone is missing: add it"):
        parsed(document, "my.toml")


@pytest.mark.parametrize("other", [{}, {"name": "other", "aliases": ["host/model"]}])
def test_entry_that_stands_twice_is_refused(other: dict[str, Any]) -> None:
    message = "my.toml: price 'host/model' from 2026-01-01 00:00 UTC: stands twice; drop one, or change its `from`"
    with pytest.raises(InputError, match=message):
        parsed({"price": [block(), block(**other)]}, "my.toml")


def test_table_in_single_brackets_is_refused() -> None:
    with pytest.raises(InputError, match=r"my.toml: price: expected blocks that begin with \[\[price\]\]"):
        parsed({"price": block()}, "my.toml")


def test_block_that_is_no_table_is_refused() -> None:
    with pytest.raises(InputError, match=r"my.toml: price 1: the table = 5: expected a table"):
        parsed({"price": [5]}, "my.toml")


def test_file_without_prices_has_none() -> None:
    assert parsed({}, "my.toml") == ()


def test_entries_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        price().input = 0.0  # type: ignore[misc]


def test_validated_returns_what_was_asked_for() -> None:
    assert validated(Price, block(), "place") == price()


# -- the packaged table


def test_packaged_blocks_of_a_name_follow_each_other_in_the_file() -> None:
    entries = packaged().entries
    for name in packaged().names:
        of_name = [entry.start for entry in entries if name in (entry.deployment, *entry.aliases)]
        assert all(earlier < later for earlier, later in pairwise(of_name))


@pytest.mark.parametrize(
    ("name", "time", "rates", "peak"),
    [
        ("deepseek-v4-flash", utc(2026, 4, 24), (0.14, 0.028, 0.28), None),
        ("deepseek-v4-pro", utc(2026, 4, 24), (1.74, 0.145, 3.48), None),
        ("deepseek-v4-flash", utc(2026, 8, 15), (0.14, 0.0028, 0.28), None),
        ("deepseek-v4-pro", utc(2026, 8, 16, 15, 59), (0.435, 0.003625, 0.87), None),
        ("deepseek-v4-flash", utc(2026, 8, 16, 16), (0.22, 0.007, 0.66), (0.44, 0.014, 1.32)),
        ("deepseek-v4-pro", utc(2026, 8, 16, 16), (0.66, 0.022, 1.98), (1.32, 0.044, 3.96)),
        ("deepseek-flash", utc(2026, 10, 17), (0.15, 0.003, 0.60), (0.30, 0.006, 1.20)),
        ("deepseek-v4-flash", utc(2026, 10, 27), (0.15, 0.003, 0.60), (0.30, 0.006, 1.20)),
        ("deepseek-v4-pro", utc(2026, 10, 27), (0.66, 0.022, 1.98), (1.32, 0.044, 3.96)),
        ("gpt-4-1106-preview", utc(2024, 7, 1), (10, 10, 30), None),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", utc(2024, 7, 1), (0.6, 0.6, 0.6), None),
        ("claude-3-haiku-20240307", utc(2024, 7, 1), (0.25, 0.03, 1.25), None),
        ("claude-3-5-sonnet-20240620", utc(2024, 7, 1), (3, 0.3, 15), None),
    ],
)
def test_packaged_price_is_the_published_one(
    name: str, time: datetime, rates: tuple[float, ...], peak: tuple[float, ...] | None
) -> None:
    entry = packaged().at(name, time)
    assert tuple(entry.each) == rates
    assert (tuple(entry.peak.each) if entry.peak else None) == peak


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (utc(2026, 10, 20, 0, 59), 0),
        (utc(2026, 10, 20, 1), 1),
        (utc(2026, 10, 20, 4), 0),
        (utc(2026, 10, 20, 6), 1),
        (utc(2026, 10, 20, 10), 0),
        (utc(2026, 10, 24, 1), 0),
        (utc(2026, 9, 25, 1), 0),
        (utc(2026, 10, 7, 9), 0),
        (utc(2026, 10, 8, 9), 1),
    ],
    ids=str,
)
def test_packaged_peak_hours_are_working_hours_in_beijing(time: datetime, expected: float) -> None:
    assert packaged().at("deepseek-flash", utc(2026, 10, 17)).peak_at(times(time)).tolist() == [expected]


# -- reading a file


def test_packaged_file_reads_as_its_text_does(tmp_path: Path) -> None:
    copy = tmp_path / "copy.toml"
    copy.write_bytes(b"\xef\xbb\xbf" + PACKAGED.read_bytes())
    assert parsed(loaded(copy), "copy.toml") == packaged().entries


def test_malformed_file_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("a = 1\nb = = 2\n")
    with pytest.raises(InputError, match=r"my.toml: not TOML: .*line 2.*; mend that line"):
        loaded(path)


def test_file_of_another_encoding_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes("# préis".encode("latin-1"))
    with pytest.raises(InputError, match=r"my.toml: byte 4 is not UTF-8; save the file as UTF-8"):
        loaded(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.toml: cannot be read: No such file or directory; give the path"):
        loaded(tmp_path / "none.toml")


# -- the worked example of an article: 15,000 conversations a day, output as dear as input, pro twelve times flash


def article_usd(tier: str, share: float = 1.0, length: float = 1.0) -> float:
    rate = {"flash": 1.0, "pro": 12.0}[tier]
    entry = price(f"seed-{tier}", input=rate, cached=0.0, output=rate)
    return float(entry.usd(3500 * length, 0, 800 * length, 0)) * 15_000 * share


def test_article_costs_are_what_its_tokens_and_prices_give() -> None:
    flash, pro, easy = article_usd("flash"), article_usd("pro"), article_usd("flash", 0.8)
    hard = article_usd("pro", 0.2, 1.5)
    assert [flash, pro, easy, hard, easy + hard] == pytest.approx([64.50, 774.00, 51.60, 232.20, 283.80])
    assert [flash, pro, easy + hard] == pytest.approx([65, 780, 286], rel=0.015)


def test_article_figures_follow_from_rounding_flash_first() -> None:
    flash = np.ceil(article_usd("flash"))
    pro = flash * article_usd("pro") / article_usd("flash")
    assert flash == 65
    assert pro == pytest.approx(780)
    assert [0.8 * flash, 1.5 * 0.2 * pro] == pytest.approx([52, 234])
    assert 0.8 * flash + 1.5 * 0.2 * pro == pytest.approx(286)
