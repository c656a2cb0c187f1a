"""The user's own file: defaults, ranges, and what is said of a key that is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from pipeline import prices
from pipeline.settings import Delivery, Settings, read, restored

PRICE = """
[[price]]
deployment = "own/flash"
from = 2026-01-01
input = 0.1
output = 0.2
source = "our contract"
"""
PEAK = (
    PRICE
    + '[price.peak]\nwhen = "noon"\ninput = 1.0\noutput = 2.0\n'
    + '[peak_hours.noon]\nzone = "Asia/Shanghai"\ndays = ["mon", "fri"]\nhours = ["12:00-13:00", "22:00-02:00"]\n'
    + "except = [2026-10-01]\n"
    + PRICE.replace("own/flash", "own/other").replace("2026-01-01", "2026-02-03T04:05:06+02:00")
    + 'aliases = ["another"]\n'
)
EVERYTHING = """
[tiers.flash]
price = "deepseek-flash"
model = "Flash"
tokens_per_word = 1.5
output_tokens = 400
cache_share = 0.25
latency_s = 2
attempts = 3
retry_success = 0.5
[tiers.pro]
price = "deepseek-v4-pro"
[delivery]
escalation_rate = 0.12
escalation_minutes = 10
hourly_wage_usd = 60.0
wrong_answer_usd = 1.5
waiting_usd_per_second = 0.01
requests_per_month = 450_000
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "tier-router.toml"
    path.write_text(text, encoding="utf-8")
    return path


def settings(folder: Path, text: str) -> Settings:
    return read(written(folder, text))


def test_no_file_and_an_empty_file_are_the_defaults(tmp_path: Path) -> None:
    assert read(None) == settings(tmp_path, "") == Settings()


def test_every_key_is_read(tmp_path: Path) -> None:
    found = settings(tmp_path, EVERYTHING)
    assert found.tiers.flash.model_dump(exclude_unset=True) == {
        "price": "deepseek-flash",
        "model": "Flash",
        "tokens_per_word": 1.5,
        "output_tokens": 400.0,
        "cache_share": 0.25,
        "latency_s": 2.0,
        "attempts": 3,
        "retry_success": 0.5,
    }
    assert found.tiers.pro.price == "deepseek-v4-pro"
    assert found.delivery.model_dump() == {
        "escalation_rate": 0.12,
        "escalation_minutes": 10.0,
        "hourly_wage_usd": 60.0,
        "wrong_answer_usd": 1.5,
        "waiting_usd_per_second": 0.01,
        "requests_per_month": 450_000,
    }


def test_left_out_keys_keep_their_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, "[delivery]\nescalation_rate = 1\n[tiers.pro]\nlatency_s = 9.0\n")
    assert found.delivery == Delivery(escalation_rate=1.0)
    assert found.tiers.flash == Settings().tiers.flash
    assert found.tiers.pro.attempts == 1


@given(st.floats(0, 1), st.floats(0, 600), st.floats(0, 500), st.floats(0, 1000))
def test_wrong_answer_costs_the_person_and_the_damage(rate: float, minutes: float, wage: float, damage: float) -> None:
    delivery = Delivery(escalation_rate=rate, escalation_minutes=minutes, hourly_wage_usd=wage, wrong_answer_usd=damage)
    assert delivery.wrong_usd == pytest.approx(rate * minutes * wage / 60 + damage)


def test_quarter_of_an_hour_at_thirty_costs_seven_fifty() -> None:
    assert Delivery(escalation_rate=1.0).wrong_usd == 7.50


def test_wrong_answers_cost_nothing_unless_told() -> None:
    assert Settings().delivery.wrong_usd == 0


def test_own_prices_join_the_packaged_ones(tmp_path: Path) -> None:
    table = settings(tmp_path, PRICE).prices
    assert table.at("own/flash", datetime(2026, 1, 1, tzinfo=UTC)).output == 0.2
    assert set(table.names) == {*prices.packaged().names, "own/flash"}


def test_own_price_replaces_the_packaged_one_of_the_same_moment(tmp_path: Path) -> None:
    ours = prices.packaged().at("deepseek-v4-pro", datetime(2026, 10, 20, tzinfo=UTC))
    text = PRICE.replace("own/flash", "deepseek-v4-pro").replace("2026-01-01", f"{ours.start:%Y-%m-%dT%H:%M:%SZ}")
    table = settings(tmp_path, text).prices
    assert table.at("deepseek-v4-pro", datetime(2026, 10, 20, tzinfo=UTC)).input == 0.1
    assert len(table.entries) == len(prices.packaged().entries)


def test_own_peak_hours_hold_for_own_prices(tmp_path: Path) -> None:
    text = PRICE + (
        '[price.peak]\nwhen = "noon"\ninput = 1.0\noutput = 2.0\n'
        '[peak_hours.noon]\nzone = "UTC"\ndays = ["mon"]\nhours = ["12:00-13:00"]\n'
    )
    assert settings(tmp_path, text).price[0].peak_share == pytest.approx(1 / 168)


def test_packaged_prices_are_read_when_first_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "PACKAGED", tmp_path / "none.toml")
    found = settings(tmp_path, PRICE)
    with pytest.raises(InputError, match=r"none.toml: cannot be read"):
        _ = found.prices


def test_printed_settings_are_plain_json_of_every_key(tmp_path: Path) -> None:
    found = settings(tmp_path, EVERYTHING + PRICE)
    printed = json.loads(json.dumps(found.printed()))
    assert printed == found.printed()
    assert printed["tiers"] == found.tiers.model_dump(mode="json")
    assert printed["delivery"] == found.delivery.model_dump()
    (price,) = printed["price"]
    assert (price["deployment"], price["from"], price["output"]) == ("own/flash", "2026-01-01T00:00:00Z", 0.2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        EVERYTHING,
        EVERYTHING + PRICE,
        PEAK,
    ],
    ids=["none", "keys", "price", "peak"],
)
def test_printed_settings_are_restored(tmp_path: Path, text: str) -> None:
    found = settings(tmp_path, text)
    again = restored(json.loads(json.dumps(found.printed())))
    assert again == found
    assert again.prices == found.prices


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().delivery.escalation_rate = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tiers.flash]\ncache_share = 1.5", "tiers.flash.cache_share = 1.5: expected less than or equal to 1"),
        ("[tiers.flash]\ncache_share = nan", "tiers.flash.cache_share = nan: expected a finite number"),
        ("[tiers.pro]\nretry_success = -0.1", "tiers.pro.retry_success = -0.1: expected greater than or equal to 0"),
        ("[tiers.pro]\ntokens_per_word = 0", "tiers.pro.tokens_per_word = 0: expected greater than 0"),
        ("[tiers.pro]\noutput_tokens = inf", "tiers.pro.output_tokens = inf: expected less than or equal to"),
        ("[tiers.pro]\nlatency_s = '2 s'", "tiers.pro.latency_s = '2 s': expected a valid number"),
        ("[tiers.pro]\nattempts = 0", "tiers.pro.attempts = 0: expected greater than or equal to 1"),
        ("[tiers.pro]\nattempts = 1.5", "tiers.pro.attempts = 1.5: expected a valid integer"),
        ("[tiers.pro]\nattempts = true", "tiers.pro.attempts = True: expected a valid integer"),
        ("[tiers.pro]\nprice = 0.5", "tiers.pro.price = 0.5: expected a valid string"),
        ("[delivery]\nescalation_rate = 12", "delivery.escalation_rate = 12: expected less than or equal to 1"),
        ("[delivery]\nhourly_wage_usd = -1", "delivery.hourly_wage_usd = -1: expected greater than or equal to 0"),
        ("[delivery]\nrequests_per_month = 0", "delivery.requests_per_month = 0: expected greater than or equal to 1"),
        ("delivery = 5", "delivery = 5: expected a table"),
        ("[tiers.flash]\ncached_share = 0.5", "tiers.flash.cached_share: unknown key; use cache_share"),
        ("[tiers.flahs]\ncache_share = 0.5", "tiers.flahs: unknown key; use flash, or drop it"),
        ("[delivry]\n", "delivry: unknown key; use delivery, or drop it"),
        ("[[prices]]\n", "prices: unknown key; use price, or drop it"),
        ("[peak_hours.noon]\nzone = 'UTC'\ndays = ['mon']", "peak_hours.noon.hours is missing: add it"),
        ("peak_hours = 5", "peak_hours = 5: expected a table"),
        (
            PRICE.replace("0.1", "-1"),
            "price 1 (own/flash, 2026-01-01): input = -1: expected greater than or equal to 0",
        ),
        ("[price]\ninput = 1", "price: expected blocks that begin with [[price]], in double brackets"),
    ],
)
def test_wrong_key_or_value_is_named_with_its_file_and_path(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        settings(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'tier-router.toml'}: {message}")


def test_malformed_file_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tier-router.toml: not TOML: .*line 2"):
        settings(tmp_path, "[delivery]\nescalation_rate 0.5\n")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tier-router.toml: cannot be read: No such file"):
        read(tmp_path / "tier-router.toml")
